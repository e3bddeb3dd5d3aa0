"""The windows of a text, run and scored one after the other."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import torch
from torch import Tensor

from dskd_core.evaluation.heldout.frequency import (
    FREQUENCY_METRICS,
    Counts,
    band_sums,
    with_training_counts,
)
from dskd_core.evaluation.heldout.scorer import HeldoutScorer
from dskd_core.progress import Progress
from dskd_core.training.activations.capture import WindowActivations
from dskd_core.training.activations.readers import StoredActivations
from dskd_core.training.student.tail import Tail, padded_entering, run_tail

_BATCH_WINDOWS = 8
_COUNTS = (
    *("n_positions", "n_with_positives", "n_with_negatives", "n_with_both", "n_synonym_nearer"),
    *(metric.count for metric in FREQUENCY_METRICS),
)


def score_windows(
    scorer: HeldoutScorer,
    tail: Tail | None,
    activations: StoredActivations,
    counts: Counts,
    compute_dtype: str,
    progress: Progress,
) -> tuple[pa.Table, pa.Table]:
    """Score every held-out window; return the table of windows and that of positions."""
    rows: list[dict[str, float]] = []
    positions: list[pa.Table] = []
    for windows in _batches(activations):
        for window, n in zip(windows, _states(tail, windows, compute_dtype), strict=True):
            place = {"window": window.window, "document": activations.document_hash(window.window)}
            sums, table = scorer.score(n, window)
            labels, ce = (table[name].to_numpy() for name in ("label", "ce"))
            rows.append(place | sums | band_sums(labels, ce, counts))
            positions.append(with_training_counts(table, counts))
        progress(len(rows), len(activations.heldout), "windows")
    return _table(rows), pa.concat_tables(positions).combine_chunks()


def _batches(activations: StoredActivations) -> Iterator[list[WindowActivations]]:
    for start in range(0, len(activations.heldout), _BATCH_WINDOWS):
        yield activations.read(activations.heldout[start : start + _BATCH_WINDOWS])


@torch.no_grad()
def _states(
    tail: Tail | None, windows: Sequence[WindowActivations], compute_dtype: str
) -> list[Tensor]:
    """Return the model's final states of each window, [n, d] float32; without a tail m_t."""
    if tail is None:
        return [window.teacher_states.float() for window in windows]
    entering = padded_entering([window.entering for window in windows])
    flat = run_tail(tail, *entering, compute_dtype)
    return list(torch.split(flat, [len(window.labels) for window in windows]))


def _table(rows: list[dict[str, float]]) -> pa.Table:
    types = {"document": pa.uint64()} | dict.fromkeys(("window", *_COUNTS), pa.int32())
    schema = pa.schema([(key, types.get(key, pa.float64())) for key in rows[0]])
    return pa.Table.from_pylist(rows, schema=schema)
