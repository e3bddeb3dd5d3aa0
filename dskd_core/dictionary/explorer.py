"""What a dictionary says about one word, for a person to read."""

from collections.abc import Iterator
from typing import Any

from dskd_core.artifacts import Artifact
from dskd_core.errors import DataError

_SENSES = """
SELECT e.token_id, e.token, e.sense, e.rank, e.left, e.written, e.right, e.document_id
FROM examples e JOIN heads h ON h.token_id = e.token_id JOIN words w USING (word_id)
WHERE w.word = $word ORDER BY e.token_id, e.sense, e.rank
"""
_RELATIONS = """
SELECT p.relation, CASE WHEN p.word_a = $word THEN p.word_b ELSE p.word_a END AS neighbour,
       p.weight, p.tier, p.affix, p.parent, p.sources, w.row_start
FROM pairs p
LEFT JOIN dictionary_words w
  ON w.word = CASE WHEN p.word_a = $word THEN p.word_b ELSE p.word_a END
WHERE $word IN (p.word_a, p.word_b)
ORDER BY p.relation DESC, p.weight DESC, neighbour
"""


def describe(
    dictionary: Artifact,
    senses: Artifact,
    words: Artifact,
    relations: Artifact,
    word: str,
    *,
    max_neighbours: int = 25,
) -> str:
    """Return the senses of a word with their examples, and its relations with their origin.

    Args:
        dictionary: which words have senses.
        senses: the inventory with its examples.
        words: which tokens write the word.
        relations: the pairs.
        word: as the lexicon writes it; case does not matter.
        max_neighbours: most synonyms, and most antonyms, listed.

    Raises:
        DataError: if the dictionary knows neither senses nor relations of it.
    """
    word = word.casefold().strip()
    occurrences = senses.query(
        _SENSES,
        {"word": word},
        examples="examples.parquet",
        heads=words.table("heads.parquet"),
        words=words.table("words.parquet"),
    ).to_pylist()
    pairs = relations.query(
        _RELATIONS,
        {"word": word},
        pairs="pairs.parquet",
        dictionary_words=dictionary.table("words.parquet"),
    ).to_pylist()
    if not occurrences and not pairs:
        raise DataError(
            f"The dictionary {dictionary.fingerprint} knows no {word!r}; it has "
            f"{dictionary.record.counts['words']} words: try another, or a larger corpus."
        )
    counts = _counts(senses)
    lines = [word, "=" * len(word), *_sense_lines(occurrences, counts)]
    for relation in ("synonym", "antonym"):
        related = [pair for pair in pairs if pair["relation"] == relation]
        lines += _relation_lines(relation, related, max_neighbours)
    return "\n".join(lines)


def _counts(senses: Artifact) -> dict[tuple[int, int], int]:
    """Return the number of embeddings of each (token, sense)."""
    from dskd_core.senses.store import load_senses

    inventory = load_senses(senses)
    return {
        (int(token), sense): int(inventory.counts[start + sense])
        for token, start, stop in zip(
            inventory.tokens, inventory.offsets, inventory.offsets[1:], strict=False
        )
        for sense in range(int(stop - start))
    }


def _sense_lines(
    occurrences: list[dict[str, Any]], counts: dict[tuple[int, int], int]
) -> Iterator[str]:
    token_id = -1
    for row in occurrences:
        if row["token_id"] != token_id:
            token_id = row["token_id"]
            yield f"\ntoken {token_id} {row['token']!r}"
        if row["rank"] == 0:
            yield f"  sense {row['sense']} ({counts[token_id, row['sense']]} embeddings)"
        left, right = (" ".join(row[side].split()) for side in ("left", "right"))
        token, written = row["token"].strip(), row["written"].strip()
        instead = "" if written == token else f" (the text has: {written})"
        yield f"    ... {left} «{token}»{instead} {right} ...  [{row['document_id']}]"


def _relation_lines(
    relation: str, pairs: list[dict[str, Any]], max_neighbours: int
) -> Iterator[str]:
    yield f"\n{len(pairs)} {relation}s"
    for pair in pairs[:max_neighbours]:
        origin = ", ".join(pair["sources"])
        if pair["tier"] != "source":
            origin = f"{pair['tier']}: {pair['affix']} of {pair['parent']}; {origin}"
        has_senses = pair["row_start"] is not None and pair["row_start"] >= 0
        unknown = "" if has_senses else ", no senses here"
        yield f"  {pair['neighbour']}  ({origin}; weight {pair['weight']:.2f}{unknown})"
    if len(pairs) > max_neighbours:
        yield f"  ... and {len(pairs) - max_neighbours} more"
