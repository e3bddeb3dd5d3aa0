"""What a dictionary says about one word, for a person to read."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from dskd_core.dictionary.queries import Queries, Sources
from dskd_core.dictionary.rows import RowReader, SenseCounts
from dskd_core.dictionary.top_tokens import TopTokenReader, load_top_token_reader
from dskd_core.store.artifacts import Artifact, ArtifactStore


def describe(
    store: ArtifactStore, dictionary: Artifact, word: str, *, max_neighbours: int = 25
) -> str:
    """Return the senses of a word, the output tokens it scores highest, and its relations.

    The case of the word does not matter.

    Raises:
        ArtifactError: if an input of the dictionary is gone.
        DataError: if the dictionary knows neither senses nor relations of the word.
    """
    queries = Queries(Sources(store, dictionary))
    known = queries.known(word)
    tokens = queries.tokens(known)
    examples = {token: texts for token in tokens if (texts := queries.examples(token))}
    pairs = queries.relations(known)
    if not (examples or pairs):
        raise queries.unknown(word)
    lines = [known, "=" * len(known)]
    found = load_top_token_reader(queries.sources.teacher)
    reader = found if isinstance(found, TopTokenReader) else None
    if not reader:
        lines.append(f"The highest-scoring output tokens of each sense are not shown: {found}.")
    rows = RowReader(dictionary, in_memory_bytes=0)
    if examples:
        counts = SenseCounts(queries.sources.senses)
        for token, texts in examples.items():
            lines += _sense_lines(token, texts, rows, counts, reader)
    else:
        lines += _composed_lines(queries.spelling(known), rows, reader)
    for relation in ("synonym", "antonym"):
        related = [pair for pair in pairs if pair["relation"] == relation]
        lines += _relation_lines(relation, related, max_neighbours)
    return "\n".join(lines)


def _sense_lines(
    token_id: int,
    examples: list[dict[str, Any]],
    rows: RowReader,
    counts: SenseCounts,
    reader: TopTokenReader | None,
) -> Iterator[str]:
    start, stop = (int(row) for row in rows.own_offsets[token_id : token_id + 2])
    said = _said(reader, rows.slice(start, stop))
    n_embeddings = counts.occurrences_of(token_id)
    yield f"\ntoken {token_id} {examples[0]['token']!r}, {n_embeddings} embeddings"
    for row in examples:
        if row["rank"] == 0:
            n_rows = int(counts.counts[start + row["sense"]])
            yield f"  sense {row['sense']} ({n_rows} embeddings){said[row['sense']]}"
        left, right = (" ".join(row[side].split()) for side in ("left", "right"))
        token, written = row["token"].strip(), row["written"].strip()
        instead = "" if written == token else f" (the text has: {written})"
        yield f"    ... {left} «{token}»{instead} {right} ...  [{row['document_id']}]"


def _composed_lines(
    word: dict[str, Any] | None, rows: RowReader, reader: TopTokenReader | None
) -> Iterator[str]:
    """Describe a word of several tokens: its senses are composed, so they have no text."""
    if word is None:
        return
    if word["row_start"] < 0:
        yield "\nno senses here: one of its tokens never occurred"
        return
    yield f"\n{len(word['token_ids'])} tokens {word['token_ids']}, senses composed by Eq. 2"
    for sense, said in enumerate(_said(reader, rows.slice(word["row_start"], word["row_stop"]))):
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
