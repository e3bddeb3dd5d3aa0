"""Which senses of other words are nearest, exactly: every row is looked at, block by block."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dskd_core.dictionary.rows import RowReader
from dskd_core.explorer.opened import OpenDictionary, Owner


@dataclass(frozen=True)
class Neighbour:
    """A sense near another: its row, whose it is, and the MSE (||x - y||^2 / d) to it."""

    row: int
    owner: Owner
    mse: float


def nearest_rows(
    reader: RowReader,
    senses: NDArray[np.floating],
    n_nearest: int,
    is_own: Callable[[NDArray[np.int64]], NDArray[np.bool_]],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the token senses nearest to each of some senses, the nearest first.

    Rows of composed words take no part: they are means of those that do. Of equally near rows the
    first wins.

    Args:
        reader: of the dictionary.
        senses: [n, d].
        n_nearest: how many of each.
        is_own: says of row numbers, [r], whether they are left out.

    Returns:
        Rows and MSEs, [n, n_nearest]; -1 and infinity where there are fewer.
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


def nearest_senses(
    opened: OpenDictionary, rows: list[int], n_nearest: int = 4
) -> list[list[Neighbour]]:
    """Return the senses of other words nearest to each row, the nearest first.

    A token that differs only in case or in a space around it is the same word.

    Raises:
        DataError: if a chunk is damaged.
    """
    if not rows:
        return []
    names = {_name(opened.owner(row)) for row in rows}
    senses = opened.rows.take(np.array(rows))

    def is_own(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        own = opened.rows.own_offsets
        tokens = np.searchsorted(own, numbers, side="right") - 1
        same = [t for t in np.unique(tokens) if _token_name(opened, int(t)) in names]
        return np.isin(tokens, same)

    found, mses = nearest_rows(opened.rows, senses, n_nearest, is_own)
    return [
        [
            Neighbour(int(row), opened.owner(int(row)), float(mse))
            for row, mse in zip(of_row, of_mse, strict=True)
            if row >= 0
        ]
        for of_row, of_mse in zip(found, mses, strict=True)
    ]


def _name(owner: Owner) -> str:
    return (owner.word or owner.text).casefold()


def _token_name(opened: OpenDictionary, token: int) -> str:
    word = opened.word_of_token.get(token)
    return (word or opened.text_of(token).strip()).casefold()
