"""The kappa senses nearest to the teacher's state, among positives and among negatives (Eq. 4)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dskd_core import interruption
from dskd_core.decoder.placement import onto
from dskd_core.dictionary.neighbours import Csr, expand_ranges
from dskd_core.dictionary.store import Dictionary

_BLOCK_BYTES = {"cpu": 1 << 20, "cuda": 256 << 20}
"""Of float32 rows that are compared at a time: on a CPU, what stays in its cache."""


@dataclass(frozen=True)
class Candidates:
    """Rows of the dictionary at s positions, as the loss takes them.

    Attributes:
        positives: [s, kappa] int64, nearest first, -1 where there are fewer.
        negatives: likewise.
        opposed: int64 on the host, the positions that have negatives, of the s, ascending.
        synonyms: [p, kappa], of the opposed positions, see :func:`for_ranking`; None where no term
            needs them.
    """

    positives: Tensor
    negatives: Tensor
    opposed: Tensor
    synonyms: Tensor | None = None

    @classmethod
    def none(cls, n_candidates: int) -> "Candidates":
        """Return those of no position."""
        rows = torch.empty(0, n_candidates, dtype=torch.int64)
        return cls(rows, rows, torch.empty(0, dtype=torch.int64))


@dataclass(frozen=True)
class Nearest:
    """Rows of the dictionary per position, -1 where there are fewer than kappa.

    Attributes:
        positives: [n, kappa] int32, nearest first.
        negatives: [n, kappa] int32, nearest first.
        antonym_mse: [n, kappa] float32, MSE(m_t, a) of the negatives, infinite where there is none.
    """

    positives: NDArray[np.int32]
    negatives: NDArray[np.int32]
    antonym_mse: NDArray[np.float32]


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
        found.antonym_mse[positions, : rows.shape[1]] = squared / here.shape[1]
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


def nearest_on_device(
    teacher_states: Tensor,
    labels: NDArray[np.integer],
    dictionary: Dictionary,
    rows: Tensor,
    *,
    n_candidates: int,
) -> Candidates:
    """Return P^kappa and A^kappa as :func:`nearest_rows` does, where the states are.

    Which rows belong to a token is known on the host, so a GPU is waited for nowhere. Equal
    distances keep the order of the lists; the two functions round distances differently.

    Args:
        teacher_states: [n, d], m_t, of any float dtype.
        labels: [n], next tokens; below 0 there are no candidates.
        dictionary: which rows belong to a token.
        rows: [r, d], of the dictionary, on the device of the states.
        n_candidates: kappa.
    """
    tokens = labels.astype(np.int64)
    positives = _segments([dictionary.own, dictionary.synonyms], tokens)
    negatives = _segments([dictionary.antonyms], tokens)
    opposed = torch.from_numpy(np.flatnonzero(np.diff(negatives.offsets)))
    return Candidates(
        _nearest_of(teacher_states, positives, rows, n_candidates),
        _nearest_of(teacher_states, negatives, rows, n_candidates),
        opposed,
    )


def for_ranking(dictionary: Dictionary) -> Dictionary:
    """Return a dictionary whose positives are what a term of order compares antonyms with.

    Those of a token with antonyms are its synonyms' rows alone, its own where it has no synonyms;
    other tokens have none. Nothing in it has antonyms.
    """
    opposed = np.diff(dictionary.antonyms.offsets) > 0
    has_synonyms = np.diff(dictionary.synonyms.offsets) > 0
    return replace(
        dictionary,
        own=_of_tokens(dictionary.own, opposed & ~has_synonyms),
        synonyms=_of_tokens(dictionary.synonyms, opposed),
        antonyms=_of_tokens(dictionary.antonyms, np.zeros_like(opposed)),
    )


def _of_tokens(lists: Csr, kept: NDArray[np.bool_]) -> Csr:
    """Return the lists of some tokens, empty ones of the others."""
    places, owner = expand_ranges(lists.offsets[:-1], lists.offsets[1:])
    counts = np.where(kept, np.diff(lists.offsets), 0)
    return Csr.from_counts(counts, lists.rows[places[kept[owner]]])


def _segments(lists: Sequence[Csr], labels: NDArray[np.int64]) -> Csr:
    """Return the rows of each position: those of its token in the first list, then the next's."""
    scored = np.flatnonzero(labels >= 0)
    tokens, n = labels[scored], len(labels)
    pieces, owners = [], []
    for one in lists:
        places, owner = expand_ranges(one.offsets[tokens], one.offsets[tokens + 1])
        pieces.append(one.rows[places])
        owners.append(scored[owner])
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    return Csr.from_counts(np.bincount(owner, minlength=n), np.concatenate(pieces)[order])


def _nearest_of(states: Tensor, near: Csr, rows: Tensor, n_candidates: int) -> Tensor:
    """Return the nearest of each position's rows, [n, kappa] int64, -1 where there are fewer.

    Positions with about as many rows are taken together, so that few places of a matrix are empty.
    """
    counts, d = np.diff(near.offsets), states.shape[1]
    found = states.new_full((len(states), n_candidates), -1, dtype=torch.int64)
    order = np.argsort(counts, kind="stable")
    order = order[np.searchsorted(counts[order], 1) :]
    most = max(1, _BLOCK_BYTES.get(states.device.type, 256 << 20) // (4 * d))
    for positions in _blocks(order, counts, most):
        indices = onto(torch.from_numpy(_padded_rows(near, positions)), states.device)
        place = onto(torch.from_numpy(positions), states.device)
        read = rows.index_select(0, indices.clamp(min=0).flatten()).float()
        off = read.view(*indices.shape, d).sub_(states.index_select(0, place).float()[:, None])
        distances = off.square_().sum(dim=2).masked_fill_(indices < 0, torch.inf)
        nearest = distances.sort(dim=1, stable=True).indices[:, :n_candidates]
        found[:, : nearest.shape[1]].index_copy_(0, place, indices.gather(1, nearest))
    return found


def _blocks(
    order: NDArray[np.int64], counts: NDArray[np.int64], most: int
) -> Iterator[NDArray[np.int64]]:
    """Cut positions, fewest rows first, so that a padded block has at most so many rows."""
    start = 0
    while start < len(order):
        sizes = counts[order[start:]] * np.arange(1, len(order) - start + 1)
        stop = start + max(1, int(np.searchsorted(sizes, most, side="right")))
        yield order[start:stop]
        start = stop


def _padded_rows(near: Csr, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows of positions as a matrix, -1 where one has fewer."""
    starts, stops = near.offsets[positions], near.offsets[positions + 1]
    matrix = np.full((len(positions), int((stops - starts).max())), -1, dtype=np.int64)
    places, owner = expand_ranges(starts, stops)
    matrix[owner, places - starts[owner]] = near.rows[places]
    return matrix
