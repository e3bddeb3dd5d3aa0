"""The kappa senses nearest to the teacher's state, among positives and among negatives (Eq. 4)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dskd_core import interruption
from dskd_core.dictionary.store import Dictionary


@dataclass(frozen=True)
class Nearest:
    """Rows of the dictionary per position, -1 where there are fewer than kappa.

    Attributes:
        positives: [n, kappa] int32, nearest first.
        negatives: [n, kappa] int32, nearest first.
        push: [n, kappa] float32, MSE(m_t, a) of the negatives, infinite where there is none.
    """

    positives: NDArray[np.int32]
    negatives: NDArray[np.int32]
    push: NDArray[np.float32]


def nearest_rows(
    teacher_states: NDArray[np.float32],
    labels: NDArray[np.integer],
    dictionary: Dictionary,
    *,
    n_candidates: int,
) -> Nearest:
    """Return P^kappa and A^kappa of every position.

    The candidates depend on the next token alone and m_t is frozen, so positions are taken token
    by token: one small product for each token that occurs, once for all epochs.

    Args:
        teacher_states: [n, d], m_t.
        labels: [n], next tokens; -1 has no candidates.
        dictionary: where the rows are.
        n_candidates: kappa.
    """
    shape = (len(labels), n_candidates)
    found = Nearest(
        np.full(shape, -1, dtype=np.int32),
        np.full(shape, -1, dtype=np.int32),
        np.full(shape, np.inf, dtype=np.float32),
    )
    order = np.argsort(labels, kind="stable")
    tokens, starts = np.unique(labels[order], return_index=True)
    for token, positions in zip(tokens, np.split(order, starts[1:]), strict=True):
        interruption.check()
        if token < 0:
            continue
        here = teacher_states[positions]
        positives = np.append(dictionary.own.rows_of(token), dictionary.synonyms.rows_of(token))
        rows, _ = _nearest(here, dictionary, positives, n_candidates)
        found.positives[positions, : rows.shape[1]] = rows
        rows, squared = _nearest(here, dictionary, dictionary.antonyms.rows_of(token), n_candidates)
        found.negatives[positions, : rows.shape[1]] = rows
        found.push[positions, : rows.shape[1]] = squared / here.shape[1]
    return found


def _nearest(
    states: NDArray[np.float32], dictionary: Dictionary, rows: NDArray[np.int64], n_candidates: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the nearest of ``rows`` to each state, [n, <= kappa], and the squared distances."""
    candidates = dictionary.rows[rows].astype(np.float32)
    squared = (
        (states**2).sum(axis=1)[:, None]
        - 2.0 * (states @ candidates.T)
        + (candidates**2).sum(axis=1)[None, :]
    )
    nearest = np.argsort(squared, axis=1, kind="stable")[:, :n_candidates]
    return rows[nearest], np.take_along_axis(squared, nearest, axis=1)
