"""Which senses of other words are nearest: exactly, or among those that an index holds likely."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dskd_core.dictionary.rows import RowReader
from dskd_core.explorer.opened import OpenDictionary, Owner
from dskd_core.explorer.projection import principal_axes
from dskd_core.progress import Progress

N_AXES, N_LIKELY = 64, 256
_N_SAMPLED = 1_024
_QUERIES_A_TIME = 8


@dataclass(frozen=True)
class Neighbour:
    """A sense near another: its row, whose it is, and the MSE (||x - y||^2 / d) to it."""

    row: int
    owner: Owner
    mse: float


IsOwn = Callable[[NDArray[np.int64]], NDArray[np.bool_]]
"""Says of row numbers, [r], whether they are left out."""
Nearest = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Rows and MSEs, [n, n_nearest], the nearest first; -1 and infinity where there are fewer."""


def nearest_rows(
    reader: RowReader, senses: NDArray[np.floating], n_nearest: int, is_own: IsOwn
) -> Nearest:
    """Return the token senses nearest to each of some senses: every row is looked at.

    Rows of composed words take no part: they are means of those that do. Of equally near rows the
    first wins.

    Args:
        reader: of the dictionary.
        senses: [n, d].
        n_nearest: how many of each.
        is_own: which rows take no part.
    """
    queries = senses.astype(np.float32)
    best = np.full((len(queries), n_nearest), -1, np.int64)
    least = np.full((len(queries), n_nearest), np.inf, np.float32)
    for start, block in reader.blocks(reader.n_token_rows):
        numbers = np.arange(start, start + len(block))
        squares = np.einsum("nd,nd->n", block, block)
        mses = squares[None, :] - 2.0 * (queries @ block.T)
        mses += np.einsum("nd,nd->n", queries, queries)[:, None]
        mses = np.maximum(mses, 0.0) / reader.hidden_size
        mses[:, is_own(numbers)] = np.inf
        merged = np.concatenate([least, mses], axis=1)
        rows = np.concatenate([best, np.broadcast_to(numbers, mses.shape)], axis=1)
        order = np.argsort(merged, axis=1, kind="stable")[:, :n_nearest]
        least = np.take_along_axis(merged, order, axis=1)
        best = np.take_along_axis(rows, order, axis=1)
    return np.where(np.isfinite(least), best, -1), least


class SenseIndex:
    """All token senses on 64 of their principal axes, in 260 bytes a sense.

    A distance is estimated as that on the axes and the squares of both rests, which would be exact
    if the rests were orthogonal; the rows of the 256 senses that are nearest so are then read.
    """

    def __init__(self, reader: RowReader, progress: Progress) -> None:
        """Read every row once; ``progress`` is told rows. Cost: n d 64 operations.

        Raises:
            DataError: if a chunk is damaged.
        """
        n = reader.n_token_rows
        sampled = reader.take(np.unique(np.linspace(0, n - 1, min(n, _N_SAMPLED)).astype(int)))
        self._mean = sampled.mean(axis=0, dtype=np.float64).astype(np.float32)
        self._axes = _directions(sampled.astype(np.float64))
        self._places = np.empty((n, self._axes.shape[1]), np.float32)
        self._rests = np.empty(n, np.float32)
        for start, block in reader.blocks(len(reader)):
            progress(start, len(reader), "rows")
            rows = block[: max(0, n - start)]  # composed ones are read to be checked alone
            stop = start + len(rows)
            self._places[start:stop], self._rests[start:stop] = self._placed(rows)
        reader.is_checked = True
        self._reader = reader

    def _placed(self, rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return coordinates on the axes, and the square of what they leave."""
        centred = rows - self._mean
        places = centred @ self._axes
        rests = np.einsum("nd,nd->n", centred, centred) - np.einsum("nd,nd->n", places, places)
        return places, np.maximum(rests, 0.0)

    def nearest(self, senses: NDArray[np.floating], n_nearest: int, is_own: IsOwn) -> Nearest:
        """Return the token senses nearest to each of some senses, among the likeliest.

        The arguments are those of :func:`nearest_rows`.
        """
        n = len(self._rests)
        own, squares = is_own(np.arange(n)), np.einsum("nd,nd->n", self._places, self._places)
        best = np.full((len(senses), n_nearest), -1, np.int64)
        least = np.full((len(senses), n_nearest), np.inf, np.float32)
        for first in range(0, len(senses), _QUERIES_A_TIME):
            some = senses[first : first + _QUERIES_A_TIME].astype(np.float32)
            places, _ = self._placed(some)
            estimates = squares + self._rests - 2.0 * (places @ self._places.T)
            estimates[:, own] = np.inf
            likely = np.argpartition(estimates, min(N_LIKELY, n) - 1, axis=1)[:, :N_LIKELY]
            for index, (sense, candidates) in enumerate(zip(some, likely, strict=True), first):
                rows = np.sort(candidates[~own[candidates]])
                gaps = self._reader.take(rows).astype(np.float64) - sense
                mses = np.einsum("nd,nd->n", gaps, gaps) / self._reader.hidden_size
                order = np.argsort(mses, kind="stable")[:n_nearest]
                best[index, : len(order)], least[index, : len(order)] = rows[order], mses[order]
        return best, least


def _directions(sampled: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the principal axes of some rows, [d, at most 64], orthonormal."""
    places, _ = principal_axes(sampled, N_AXES)
    lengths = np.linalg.norm(places, axis=0)
    real = lengths > 1e-6 * lengths.max()
    centred = sampled - sampled.mean(axis=0)
    axes: NDArray[np.float32] = (centred.T @ (places[:, real] / lengths[real] ** 2)).astype("f4")
    return axes


def nearest_senses(
    opened: OpenDictionary,
    rows: list[int],
    n_nearest: int = 4,
    index: SenseIndex | None = None,
) -> list[list[Neighbour]]:
    """Return the senses of other words nearest to each row, the nearest first.

    A token that differs only in case or in a space around it is the same word. The tokens of a
    composed word are its own: Eq. 2 puts its senses between theirs.

    Args:
        opened: the dictionary.
        rows: of the senses.
        n_nearest: how many of each.
        index: where to look; without it every row is looked at.

    Raises:
        DataError: if a chunk is damaged.
    """
    if not rows:
        return []
    owners = {(owner.word, owner.token_id): owner for owner in map(opened.owner, rows)}
    own = opened.name_numbers(
        {name for owner in owners.values() for name in _own_names(opened, owner)}
    )
    senses = opened.rows.take(np.array(rows))

    def is_own(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.isin(opened.names_of_rows[numbers], own)

    found, mses = (
        nearest_rows(opened.rows, senses, n_nearest, is_own)
        if index is None
        else index.nearest(senses, n_nearest, is_own)
    )
    return [
        [
            Neighbour(int(row), opened.owner(int(row)), float(mse))
            for row, mse in zip(of_row, of_mse, strict=True)
            if row >= 0
        ]
        for of_row, of_mse in zip(found, mses, strict=True)
    ]


def _own_names(opened: OpenDictionary, owner: Owner) -> set[str]:
    is_composed = owner.token_id < 0 and owner.word is not None
    spelling = opened.queries.spelling(owner.word or "") if is_composed else None
    tokens = {opened.token_name(token) for token in spelling["token_ids"]} if spelling else set()
    return tokens | {(owner.word or owner.text).casefold()}
