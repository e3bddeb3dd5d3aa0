"""What a dictionary says about one word, for a person to read."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from dskd_core.dictionary.top_tokens import TopTokenReader, load_top_token_reader
from dskd_core.errors import DataError
from dskd_core.senses.inventory import SenseInventory, load_senses
from dskd_core.store.artifacts import Artifact, ArtifactStore

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
_SPELLING = "SELECT token_ids, row_start, row_stop FROM dictionary_words WHERE word = $word"


@dataclass(frozen=True)
class Sources:
    """A dictionary and what it was made from, under one root."""

    dictionary: Artifact
    senses: Artifact
    words: Artifact
    relations: Artifact
    teacher: Artifact

    @classmethod
    def from_dictionary(cls, store: ArtifactStore, dictionary: Artifact) -> "Sources":
        """Follow the inputs of a dictionary.

        Raises:
            ArtifactError: if one is not under the root.
        """
        senses = store.get("senses", dictionary.record.inputs["senses"])
        words = store.get("words", dictionary.record.inputs["words"])
        relations = store.get("relations", words.record.inputs["relations"])
        teacher = store.get("teacher", senses.record.inputs["teacher"])
        return cls(dictionary, senses, words, relations, teacher)


def describe(
    store: ArtifactStore, dictionary: Artifact, word: str, *, max_neighbours: int = 25
) -> str:
    """Return the senses of a word, the output tokens it scores highest, and its relations.

    Args:
        store: with the inputs of the dictionary.
        dictionary: the dictionary.
        word: as the lexicon writes it; case does not matter.
        max_neighbours: most synonyms, and most antonyms, listed.

    Raises:
        ArtifactError: if an input of the dictionary is gone.
        DataError: if the dictionary knows neither senses nor relations of the word.
    """
    word = word.casefold().strip()
    sources = Sources.from_dictionary(store, dictionary)
    examples = sources.senses.query(
        _SENSES,
        {"word": word},
        examples="examples.parquet",
        heads=sources.words.table("heads.parquet"),
        words=sources.words.table("words.parquet"),
    ).to_pylist()
    words = dictionary.table("words.parquet")
    pairs = sources.relations.query(
        _RELATIONS, {"word": word}, pairs="pairs.parquet", dictionary_words=words
    ).to_pylist()
    if not examples and not pairs:
        raise DataError(
            f"The dictionary {dictionary.fingerprint} knows no {word!r}; it has "
            f"{dictionary.record.counts['words']} words: try another, or a larger corpus."
        )
    lines = [word, "=" * len(word)]
    found = load_top_token_reader(sources.teacher)
    reader = found if isinstance(found, TopTokenReader) else None
    if not reader:
        lines.append(f"The highest-scoring output tokens of each sense are not shown: {found}.")
    if examples:
        lines += _sense_lines(examples, load_senses(sources.senses), reader)
    else:
        spelled = dictionary.query(_SPELLING, {"word": word}, dictionary_words=words).to_pylist()
        lines += _composed_lines(spelled, dictionary, reader)
    for relation in ("synonym", "antonym"):
        related = [pair for pair in pairs if pair["relation"] == relation]
        lines += _relation_lines(relation, related, max_neighbours)
    return "\n".join(lines)


def _sense_lines(
    examples: list[dict[str, Any]], inventory: SenseInventory, reader: TopTokenReader | None
) -> Iterator[str]:
    token_id = -1
    for row in examples:
        if row["token_id"] != token_id:
            token_id = row["token_id"]
            said = _said(reader, inventory.senses_of(token_id))
            index = int(np.searchsorted(inventory.tokens, token_id))
            counts = inventory.counts[inventory.offsets[index] :]
            yield (
                f"\ntoken {token_id} {row['token']!r}, {inventory.n_occurrences[index]} embeddings"
            )
        if row["rank"] == 0:
            n_rows = int(counts[row["sense"]])
            yield f"  sense {row['sense']} ({n_rows} embeddings){said[row['sense']]}"
        left, right = (" ".join(row[side].split()) for side in ("left", "right"))
        token, written = row["token"].strip(), row["written"].strip()
        instead = "" if written == token else f" (the text has: {written})"
        yield f"    ... {left} «{token}»{instead} {right} ...  [{row['document_id']}]"


def _composed_lines(
    found: list[dict[str, Any]], dictionary: Artifact, reader: TopTokenReader | None
) -> Iterator[str]:
    """Describe a word of several tokens: its senses are composed, so they have no text."""
    for word in found:
        if word["row_start"] < 0:
            yield "\nno senses here: one of its tokens never occurred"
            continue
        rows = dictionary.group("dictionary.zarr")["rows"][word["row_start"] : word["row_stop"]]
        yield f"\n{len(word['token_ids'])} tokens {word['token_ids']}, senses composed by Eq. 2"
        for sense, said in enumerate(_said(reader, np.asarray(rows))):
            yield f"  sense {sense}{said}"


def _said(reader: TopTokenReader | None, rows: np.ndarray) -> list[str]:
    if reader is None:
        return [""] * len(rows)
    return [f": {' · '.join(words)}" for words in reader.top_tokens(rows)]


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
