"""What must hold inside the artifacts of each stage: lengths, orders, ranges, and who is whose."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dskd_core.errors import ArtifactError
from dskd_core.store.arrays import get_array, open_array
from dskd_core.store.artifacts import Artifact, ArtifactStore

IntArray = NDArray[np.integer]
_ROWS_A_TIME = 4096


@dataclass(frozen=True)
class Problem:
    """A place in an artifact, and what is wrong there.

    Attributes:
        where: a file, an array and chunk, a column, or an input.
        what: the rest of the sentence, with the offending value.
    """

    where: str
    what: str

    def row(self) -> dict[str, str]:
        """Return it as a row of a table."""
        return {"where": self.where, "what": self.what}


Check = Callable[[Artifact], Iterator[Problem]]


def csr(name: str, offsets: IntArray, n_lists: int | None, n_items: int) -> Iterator[Problem]:
    """Check that offsets cut ``n_items`` items into ``n_lists`` lists.

    >>> [p.what for p in csr("x", np.array([0, 3, 2, 4]), 3, 4)]
    ['falls from 3 to 2 at index 2']
    """
    if n_lists is not None and len(offsets) != n_lists + 1:
        yield Problem(name, f"has {len(offsets)} entries and not {n_lists + 1}")
    if len(offsets) and offsets[0] != 0:
        yield Problem(name, f"starts at {offsets[0]} and not at 0")
    falls = np.flatnonzero(np.diff(offsets) < 0)
    if len(falls):
        at = int(falls[0])
        yield Problem(name, f"falls from {offsets[at]} to {offsets[at + 1]} at index {at + 1}")
    if len(offsets) and offsets[-1] != n_items:
        yield Problem(name, f"ends at {offsets[-1]}, but there are {n_items} items")


def within(name: str, values: IntArray, low: int, high: int) -> Iterator[Problem]:
    """Check that all values are at least ``low`` and below ``high``.

    >>> [p.what for p in within("x", np.array([0, 7, 9]), 0, 5)]
    ['has 2 values outside 0 to 4, the first is 7 at index 1']
    """
    wrong = np.flatnonzero((values < low) | (values >= high))
    if len(wrong):
        yield Problem(
            name,
            f"has {len(wrong)} values outside {low} to {high - 1}, the first is "
            f"{values[wrong[0]]} at index {wrong[0]}",
        )


def ascending(name: str, values: IntArray) -> Iterator[Problem]:
    """Check that values rise, each different from the last."""
    wrong = np.flatnonzero(np.diff(values.astype(np.int64)) <= 0)
    if len(wrong):
        at = int(wrong[0])
        yield Problem(name, f"does not rise: {values[at]} before {values[at + 1]} at index {at}")


def same_length(name: str, lengths: Mapping[str, int]) -> Iterator[Problem]:
    """Check that arrays that go together have equal lengths."""
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{array} {length}" for array, length in lengths.items())
        yield Problem(name, f"has arrays of unequal length: {said}")


def _lists_of_rows(artifact: Artifact) -> Iterator[Problem]:
    group = artifact.group("dictionary.zarr")
    n_rows, own = open_array(group, "rows").shape[0], get_array(group, "own_offsets")
    n_tokens = len(own) - 1
    yield from csr("own_offsets", own, None, int(own[-1]) if len(own) else 0)
    yield from within("own_offsets", own, 0, n_rows + 1)
    for name in ("synonym", "antonym"):
        offsets, rows = (get_array(group, f"{name}_{part}") for part in ("offsets", "rows"))
        yield from csr(f"{name}_offsets", offsets, n_tokens, len(rows))
        yield from within(f"{name}_rows", rows, 0, n_rows)
        if name == "antonym" and len(offsets) == len(own) and offsets[-1] == len(rows):
            owner = np.repeat(np.arange(n_tokens), np.maximum(0, np.diff(offsets)))
            wrong = np.flatnonzero((rows >= own[owner]) & (rows < own[owner + 1]))
            if len(wrong):
                yield Problem(
                    "antonym_rows",
                    f"has {len(wrong)} senses of the token itself, the first is row "
                    f"{rows[wrong[0]]} of token {owner[wrong[0]]}",
                )


def _words_and_their_rows(artifact: Artifact) -> Iterator[Problem]:
    group, words = artifact.group("dictionary.zarr"), artifact.table("words.parquet")
    n_rows, own = open_array(group, "rows").shape[0], get_array(group, "own_offsets")
    starts, stops = (words[name].to_numpy() for name in ("row_start", "row_stop"))
    spellings = words["token_ids"].combine_chunks()
    ids = np.asarray(spellings.flatten())
    yield from within("words.parquet:token_ids", ids, 0, len(own) - 1)
    yield from within("words.parquet:row_start", starts, -1, n_rows)
    yield from within("words.parquet:row_stop", stops, -1, n_rows + 1)
    wrong = np.flatnonzero((starts >= stops) & (starts >= 0) | ((starts < 0) != (stops < 0)))
    if len(wrong):
        at = int(wrong[0])
        yield Problem("words.parquet", f"gives word {at} the rows {starts[at]} to {stops[at]}")
    lengths = np.asarray(spellings.value_lengths())
    first = ids[np.concatenate(([0], np.cumsum(lengths)))[:-1].clip(max=max(0, len(ids) - 1))]
    single = np.flatnonzero((lengths == 1) & (starts >= 0) & (first >= 0) & (first < len(own) - 1))
    other = single[starts[single] != own[first[single]]]
    if len(other):
        at = int(other[0])
        yield Problem(
            "words.parquet",
            f"gives word {at}, which is token {first[at]}, the rows from {starts[at]} and not from "
            f"{own[first[at]]}",
        )
    if (said := artifact.record.counts.get("rows")) != n_rows:
        yield Problem("dictionary.zarr/rows", f"has {n_rows} rows, the record counts {said}")


def _rows_are_the_senses(artifact: Artifact) -> Iterator[Problem]:
    """Compare the token senses, row by row, with the inventory they were copied from."""
    try:
        senses = ArtifactStore(artifact.root_uri).get("senses", artifact.record.inputs["senses"])
    except ArtifactError:
        return  # reported with the inputs
    rows = open_array(artifact.group("dictionary.zarr"), "rows")
    centroids = open_array(senses.group("senses.zarr"), "centroids")
    n_own = centroids.shape[0]
    if rows.shape[0] < n_own or rows.shape[1] != centroids.shape[1]:
        yield Problem(
            "dictionary.zarr/rows", f"is {rows.shape}, the senses alone are {centroids.shape}"
        )
        return
    for start in range(0, n_own, _ROWS_A_TIME):
        theirs = np.asarray(centroids[start : min(n_own, start + _ROWS_A_TIME)])
        mine = np.asarray(rows[start : start + len(theirs)])
        wrong = np.flatnonzero((mine != theirs.astype(mine.dtype)).any(axis=1))
        if len(wrong):
            yield Problem(
                "dictionary.zarr/rows", f"differs from the senses at row {start + wrong[0]}"
            )
            return


def _sense_index(artifact: Artifact) -> Iterator[Problem]:
    group = artifact.group("senses.zarr")
    tokens, offsets, counts = (get_array(group, n) for n in ("tokens", "offsets", "counts"))
    occurrences, inertia = (get_array(group, n) for n in ("n_occurrences", "inertia"))
    n_rows = open_array(group, "centroids").shape[0]
    yield from ascending("tokens", tokens)
    if "n_vocabulary" in group.attrs:
        yield from within("tokens", tokens, 0, int(group.attrs["n_vocabulary"]))
    yield from csr("offsets", offsets, len(tokens), n_rows)
    yield from same_length("senses.zarr", {"centroids": n_rows, "counts": len(counts)})
    by_token = {"tokens": len(tokens), "n_occurrences": len(occurrences), "inertia": len(inertia)}
    yield from same_length("senses.zarr", by_token)
    yield from within("inertia", np.sign(inertia).astype(np.int64), 0, 2)
    sums = np.add.reduceat(counts, offsets[:-1]) if len(tokens) else occurrences
    wrong = np.flatnonzero(sums != occurrences)
    if len(wrong):
        at = int(wrong[0])
        yield Problem(
            "counts",
            f"of token {tokens[at]} sum to {sums[at]}, it has {occurrences[at]} embeddings",
        )


def _examples(artifact: Artifact) -> Iterator[Problem]:
    group, table = artifact.group("senses.zarr"), artifact.table("examples.parquet")
    tokens, n_senses = get_array(group, "tokens"), np.diff(get_array(group, "offsets"))
    ids, senses = table["token_id"].to_numpy(), table["sense"].to_numpy()
    place = np.searchsorted(tokens, ids).clip(max=max(0, len(tokens) - 1))
    wrong = np.flatnonzero((tokens[place] != ids) | (senses < 0) | (senses >= n_senses[place]))
    if len(wrong):
        at = int(wrong[0])
        yield Problem(
            "examples.parquet",
            f"row {at} is of sense {senses[at]} of token {ids[at]}, which is not in the inventory",
        )


def _embedding_rows(artifact: Artifact) -> Iterator[Problem]:
    group = artifact.group("part.zarr")
    tokens, offsets, hashes = (get_array(group, n) for n in ("tokens", "offsets", "hashes"))
    scales = ("scales",) if group.attrs["dtype"] == "int8" else ()
    columns = ("states", "documents", "positions", "hashes", *scales)
    yield from ascending("tokens", tokens)
    yield from same_length("part.zarr", {name: group[name].shape[0] for name in columns})
    yield from csr("offsets", offsets, len(tokens), group["states"].shape[0])
    yield from within("positions", get_array(group, "positions"), 0, 1 << 31)
    inside = np.ones(max(0, len(hashes) - 1), dtype=bool)
    inside[offsets[1:-1] - 1] = False  # from one token to the next the hashes may fall
    wrong = np.flatnonzero(inside & (hashes[1:] <= hashes[:-1]))
    if len(wrong):
        yield Problem("hashes", f"do not rise within a token at row {wrong[0] + 1}")


def _windows(artifact: Artifact) -> Iterator[Problem]:
    group = artifact.group("windows.zarr")
    columns = ("documents", "starts", "heldout")
    offsets = get_array(group, "offsets")
    yield from same_length("windows.zarr", {name: group[name].shape[0] for name in columns})
    yield from csr("offsets", offsets, group["documents"].shape[0], group["token_ids"].shape[0])
    n_documents = artifact.table("documents.parquet").num_rows
    yield from within("documents", get_array(group, "documents"), 0, n_documents)
    yield from within("token_ids", get_array(group, "token_ids"), 0, 1 << 31)


def _spellings(artifact: Artifact) -> Iterator[Problem]:
    words = artifact.table("spellings.parquet")
    yield from within("spellings.parquet:word_id", words["word_id"].to_numpy(), 0, words.num_rows)
    columns = (("headwords", "word_id"), ("neighbours", "headword"), ("neighbours", "neighbour"))
    for name, column in columns:
        values = artifact.table(f"{name}.parquet")[column].to_numpy()
        yield from within(f"{name}.parquet:{column}", values, 0, words.num_rows)


def _captured_windows(artifact: Artifact) -> Iterator[Problem]:
    group = artifact.group("part.zarr")
    offsets = get_array(group, "offsets")
    yield from csr("offsets", offsets, group["windows"].shape[0], group["labels"].shape[0])


INVARIANTS: Mapping[str, Sequence[Check]] = {
    "dictionary": (_lists_of_rows, _words_and_their_rows, _rows_are_the_senses),
    "senses": (_sense_index, _examples),
    "senses-shard": (_sense_index,),
    "embeddings-shard": (_embedding_rows,),
    "corpus": (_windows,),
    "other-text": (_windows,),
    "words": (_spellings,),
    "activations-shard": (_captured_windows,),
}
"""Stage -> its checks; a stage without any is read and hashed all the same."""
