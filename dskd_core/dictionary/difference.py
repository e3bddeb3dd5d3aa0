"""What changed between two dictionaries: tokens, words, pairs, and senses that moved."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import zarr
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from dskd_core.decoder.tokenizer import Tokenizer, load_tokenizer
from dskd_core.dictionary.store import GROUP
from dskd_core.errors import ArtifactError
from dskd_core.progress import Progress, silent
from dskd_core.store.arrays import get_array, open_array
from dskd_core.store.artifacts import Artifact, ArtifactStore

_BLOCK_ROWS = 32_768
_QUANTILES = (0.5, 0.9, 0.99)
_N_EXAMPLES = 8
_N_MOVES = 12
_REPORT_TOKENS = 256

_PAIRS = """
SELECT coalesce(a.word_a, b.word_a) AS word_a, coalesce(a.word_b, b.word_b) AS word_b,
       a.relation AS before, b.relation AS after
FROM before a FULL JOIN after b USING (word_a, word_b)
WHERE a.relation IS DISTINCT FROM b.relation
ORDER BY 1, 2
"""
_WORDS = """
SELECT coalesce(a.word, b.word) AS word,
       len(coalesce(a.token_ids, b.token_ids))::INTEGER AS tokens,
       coalesce(a.row_stop - a.row_start, 0)::INTEGER AS before,
       coalesce(b.row_stop - b.row_start, 0)::INTEGER AS after
FROM before a FULL JOIN after b USING (word)
WHERE (coalesce(a.row_start, -1) >= 0) <> (coalesce(b.row_start, -1) >= 0)
ORDER BY 1
"""


@dataclass
class Change:
    """Things of one kind that are only in one dictionary, or differ.

    Attributes:
        kind: what they are: ``tokens added``, ``pairs relabelled``.
        n: how many.
        examples: the first few, readable.
        table: all of them. Of tokens and words, ``before`` and ``after`` are their numbers of
            senses; of pairs, their relations; of senses, farthest first, ``row_before`` and
            ``row_after`` are rows of the dictionaries and ``mse`` is between them.
    """

    kind: str
    n: int
    examples: list[str] = field(default_factory=list)
    table: pa.Table | None = field(default=None, repr=False)


@dataclass
class Difference:
    """All that changed from one dictionary to another.

    Attributes:
        before, after: fingerprints.
        changes: tokens, words and pairs.
        settings: inputs and settings that differ, ``name: before -> after``.
        moved: quantiles and counts of how far matched senses moved, as MSE (||x - y||^2 / d).
        most_moved: tokens whose senses moved farthest, the farthest first.
        notes: what could not be compared, and why.
        tokenizer: of both; None where the teacher is under neither root.
    """

    before: str
    after: str
    changes: list[Change] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)
    moved: dict[str, float] = field(default_factory=dict)
    most_moved: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tokenizer: Tokenizer | None = field(default=None, repr=False)

    def text(self, token: int) -> str:
        """Return a token as it reads."""
        return self.tokenizer.decode([token]) if self.tokenizer else f"token {token}"

    def as_json(self) -> dict[str, Any]:
        """Return plain values for machines."""
        return {
            "before": self.before,
            "after": self.after,
            "settings": self.settings,
            "changes": {c.kind: {"n": c.n, "examples": c.examples} for c in self.changes},
            "moved": self.moved,
            "most_moved": self.most_moved,
            "notes": self.notes,
        }

    def counts(self) -> list[dict[str, Any]]:
        """Return one row a kind of change."""
        rows: list[dict[str, Any]] = [
            {"what": change.kind, "n": change.n, "first": ", ".join(change.examples)}
            for change in self.changes
        ]
        return rows + [
            {"what": name, "n": value, "first": ""} for name, value in self.moved.items()
        ]


def compare(before_uri: str, after_uri: str, *, progress: Progress = silent) -> Difference:
    """Compare two dictionaries, from where each stands.

    The senses of a token have no names, so they are matched so that the sum of squared distances
    is least (an assignment problem of at most k x k), and each pair is one sense that moved.
    ``progress`` is told tokens.

    Raises:
        ArtifactError: if one of them is no dictionary.
    """
    before, after = _dictionary(before_uri), _dictionary(after_uri)
    found = Difference(before.fingerprint, after.fingerprint)
    found.settings = list(_changed_settings(before, after))
    tokenizers = [_tokenizer(artifact) for artifact in (before, after)]
    groups = [artifact.group(GROUP) for artifact in (before, after)]
    if before.record.report["tokenizer"] != after.record.report["tokenizer"]:
        found.notes.append("The tokenizers differ, so tokens and senses were not compared.")
    else:
        found.tokenizer = tokenizers[0] or tokenizers[1]
        _compare_tokens(found, groups, progress)
    _compare_words(found, before, after)
    _compare_pairs(found, before, after)
    return found


def match_senses(
    before: NDArray[np.floating], after: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the rows of each matched pair of senses in both, and its MSE, [min(k, k')] each.

    >>> rows, columns, mses = match_senses(np.array([[0.0], [10.0]]), np.array([[11.0], [0.0]]))
    >>> rows.tolist(), columns.tolist(), mses.tolist()
    ([0, 1], [1, 0], [0.0, 1.0])
    """
    x, y = before.astype(np.float64), after.astype(np.float64)
    squared = ((x[:, None, :] - y[None, :, :]) ** 2).mean(axis=2)
    rows, columns = linear_sum_assignment(squared)
    return rows, columns, np.asarray(squared[rows, columns])


def _dictionary(uri: str) -> Artifact:
    artifact = ArtifactStore.open(uri.rstrip("/"))
    if artifact.record.stage != "dictionary":
        raise ArtifactError(
            f"{uri} is of the stage {artifact.record.stage}; give the folder of a dictionary."
        )
    return artifact


def _input(artifact: Artifact, *names: str) -> Artifact | None:
    """Follow inputs by name under the artifact's own root; None where one is not there."""
    store, found = ArtifactStore(artifact.root_uri), artifact
    try:
        for name in names:
            found = store.get(name, found.record.inputs[name])
    except ArtifactError:
        return None
    return found


def _tokenizer(dictionary: Artifact) -> Tokenizer | None:
    teacher = _input(dictionary, "senses", "teacher")
    return load_tokenizer(teacher.folder()) if teacher else None


def _changed_settings(before: Artifact, after: Artifact) -> Iterator[str]:
    for title, one, other in (
        ("setting", before.record.config, after.record.config),
        ("input", before.record.inputs, after.record.inputs),
    ):
        for name in sorted({*one, *other}):
            if one.get(name) != other.get(name):
                yield f"{title} {name}: {one.get(name)} -> {other.get(name)}"


def _compare_tokens(found: Difference, groups: list[zarr.Group], progress: Progress) -> None:
    offsets = [get_array(group, "own_offsets") for group in groups]
    n_senses = [np.diff(own) for own in offsets]
    for kind, one, other in (("tokens added", 1, 0), ("tokens removed", 0, 1)):
        only = np.flatnonzero((n_senses[one] > 0) & (n_senses[other] == 0))
        first = [repr(found.text(int(token))) for token in only[:_N_EXAMPLES]]
        found.changes.append(Change(kind, len(only), first, _counted(only, n_senses)))
    shared = np.flatnonzero((n_senses[0] > 0) & (n_senses[1] > 0))
    if len({open_array(group, "rows").shape[1] for group in groups}) > 1:
        found.notes.append("The hidden sizes differ, so senses were not compared.")
        return
    other_k = shared[n_senses[0][shared] != n_senses[1][shared]]
    kind = "tokens with another number of senses"
    found.changes.append(Change(kind, len(other_k), table=_counted(other_k, n_senses)))
    _compare_senses(found, groups, offsets, shared, progress)


def _counted(tokens: NDArray[np.int64], n_senses: list[NDArray[np.int64]]) -> pa.Table:
    before, after = (of_all[tokens] for of_all in n_senses)
    return pa.table({"token_id": tokens, "before": before, "after": after})


def _compare_senses(
    found: Difference,
    groups: list[zarr.Group],
    offsets: list[NDArray[np.int64]],
    shared: NDArray[np.int64],
    progress: Progress,
) -> None:
    """Match the senses of tokens that both have; keep those that moved, the farthest first."""
    matches: list[tuple[NDArray[np.int64], ...]] = []
    every: list[NDArray[np.float64]] = []
    for n_done, (token, rows, others, mses) in enumerate(_matches(groups, offsets, shared)):
        if n_done % _REPORT_TOKENS == 0:
            progress(n_done, len(shared), "tokens")
        matches.append((np.full(len(rows), token), rows, others))
        every.append(mses)
    distances = np.concatenate(every) if every else np.empty(0)
    tokens, before, after = (
        np.concatenate([match[i] for match in matches]) if matches else np.empty(0, np.int64)
        for i in range(3)
    )
    order = np.lexsort((before, -distances))[: int((distances > 0).sum())]
    columns = {"token_id": tokens, "row_before": before, "row_after": after, "mse": distances}
    table = pa.table({name: values[order] for name, values in columns.items()})
    found.changes.append(Change("senses moved", len(table), table=table))
    found.moved = {"senses matched": len(distances)} | {
        f"MSE moved, quantile {q}": round(float(np.quantile(distances, q)), 6)
        for q in _QUANTILES
        if len(distances)
    }
    means = [
        (float(mses.mean()), int(of_token[0]), len(mses))
        for (of_token, _, _), mses in zip(matches, every, strict=True)
    ]
    found.most_moved = [
        {"id": token, "token": repr(found.text(token)), "mean MSE": round(mse, 6), "senses": k}
        for mse, token, k in sorted(means, key=lambda m: (-m[0], m[1]))[:_N_MOVES]
        if mse > 0
    ]


def _matches(
    groups: list[zarr.Group], offsets: list[NDArray[np.int64]], tokens: NDArray[np.int64]
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]:
    """Yield each token with the rows of its matched senses in both, and their MSEs.

    Rows are read a block at a time.
    """
    start = 0
    while start < len(tokens):
        ends = [own[tokens[start:] + 1] - own[tokens[start]] for own in offsets]
        fit = int(min(np.searchsorted(end, _BLOCK_ROWS, side="right") for end in ends))
        block = tokens[start : start + max(1, fit)]
        first = [int(own[block[0]]) for own in offsets]
        rows = [
            np.asarray(open_array(group, "rows")[low : int(own[block[-1] + 1])])
            for group, own, low in zip(groups, offsets, first, strict=True)
        ]
        for token in block:
            one, other = (
                whole[int(own[token]) - low : int(own[token + 1]) - low]
                for whole, own, low in zip(rows, offsets, first, strict=True)
            )
            same = one.shape == other.shape and bool((one == other).all())
            numbers = np.arange(len(one))  # nothing moved, so nothing is to be matched
            senses, others, mses = (
                (numbers, numbers, np.zeros(len(one))) if same else match_senses(one, other)
            )
            yield int(token), senses + offsets[0][token], others + offsets[1][token], mses
        start += len(block)


def _compare_words(found: Difference, before: Artifact, after: Artifact) -> None:
    table = before.query(
        _WORDS, before=before.table("words.parquet"), after=after.table("words.parquet")
    )
    for came, column in (("added", "after"), ("removed", "before")):
        chosen = table.filter(pc.greater(table[column], 0))
        first = chosen["word"][:_N_EXAMPLES].to_pylist()
        found.changes.append(Change(f"words with senses {came}", len(chosen), first, chosen))


def _compare_pairs(found: Difference, before: Artifact, after: Artifact) -> None:
    one, other = (_input(artifact, "words", "relations") for artifact in (before, after))
    if one is None or other is None:
        found.notes.append("Pairs were not compared: the relations are not under both roots.")
        return
    tables = [artifact.table("pairs.parquet") for artifact in (one, other)]
    changed = one.query(_PAIRS, before=tables[0], after=tables[1])
    is_new, is_gone = pc.is_null(changed["before"]), pc.is_null(changed["after"])
    for kind, chosen in (
        ("pairs added", changed.filter(is_new)),
        ("pairs removed", changed.filter(is_gone)),
        ("pairs relabelled", changed.filter(pc.invert(pc.or_(is_new, is_gone)))),
    ):
        first = [_written(row) for row in chosen[:_N_EXAMPLES].to_pylist()]
        found.changes.append(Change(kind, len(chosen), first, chosen))


def _written(row: dict[str, Any]) -> str:
    labels = [label for label in (row["before"], row["after"]) if label]
    return f"{row['word_a']}|{row['word_b']} ({' -> '.join(labels)})"
