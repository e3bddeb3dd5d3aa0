"""Batches of windows: length-sorted, of a bounded number of tokens, the same for every sharding."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def plan_batches(
    lengths: NDArray[np.int64], windows: NDArray[np.int64], batch_tokens: int
) -> list[NDArray[np.int64]]:
    """Group windows into batches of at most ``batch_tokens`` tokens, padding included.

    Longest first, so that a batch too large for the device fails at once and not after hours;
    ties keep the corpus order. The plan does not know shards: shards are runs of whole batches,
    so a window meets the same neighbours, and gets the same bits, however the work is cut.

    >>> [b.tolist() for b in plan_batches(np.array([3, 9, 8, 2]), np.arange(4), 18)]
    [[1, 2], [0, 3]]

    Args:
        lengths: [n_windows], tokens of every window of the corpus.
        windows: the windows to group.
        batch_tokens: most tokens of a batch; a single longer window gets its own.
    """
    order = windows[np.argsort(-lengths[windows], kind="stable")]
    batches: list[NDArray[np.int64]] = []
    start = 0
    while start < len(order):
        n_fit = max(1, batch_tokens // max(1, int(lengths[order[start]])))
        batches.append(order[start : start + n_fit])
        start += n_fit
    return batches


def padded(rows: Sequence[NDArray[np.integer]], prefix: Sequence[int]) -> Tensor:
    """Return windows as one int64 matrix [n, len(prefix) + longest], zero on the right."""
    longest = max(len(row) for row in rows)
    matrix = np.zeros((len(rows), len(prefix) + longest), dtype=np.int64)
    matrix[:, : len(prefix)] = np.asarray(prefix, dtype=np.int64)
    for line, row in zip(matrix, rows, strict=True):
        line[len(prefix) : len(prefix) + len(row)] = row
    return torch.from_numpy(matrix)
