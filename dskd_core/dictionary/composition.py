"""Senses of words that are several tokens (Eq. 2 of arXiv:2602.22351). Arrays in, arrays out."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


def compose(
    centroids: FloatArray,
    offsets: NDArray[np.int64],
    spellings: NDArray[np.int64],
) -> FloatArray:
    """Return the senses of words spelled with m tokens each.

    Start with the senses of the first token. For each later token, each row of the running mean
    takes that token's nearest sense (L2) and the mean moves:

        r_1 = s_1;   r_j = ((j - 1) r_(j-1) + nearest(r_(j-1), S_j)) / j;   result r_m

    so every token weighs 1/m. A tie goes to the earlier sense. A word has as many senses as its
    first token; rows beyond that are NaN.

    Args:
        centroids: [n_rows, d] float32, senses of all tokens.
        offsets: [n_tokens + 1], the senses of token i are ``offsets[i]:offsets[i + 1]``; each
            token has at least one.
        spellings: [n_words, m], indices of tokens (not token ids).

    Returns:
        [n_words, k, d] float32, k the most senses of any first token here. Temporary memory is
        about ``3 * n_words * k * d * 4`` bytes: call it with a few thousand words at a time.
    """
    return _align(centroids, offsets, spellings)[0]


def alignment(senses: Sequence[FloatArray]) -> NDArray[np.int64]:
    """Return which sense of each token the senses of one word were made of, as :func:`compose` is.

    Args:
        senses: [k_j, d] of each of its m tokens.

    Returns:
        [k_1, m], numbers of senses.

    >>> ones = [np.array([[0.0], [9.0]]), np.array([[8.0], [1.0]])]
    >>> alignment(ones).tolist()
    [[0, 1], [1, 0]]
    """
    offsets = np.concatenate(([0], np.cumsum([len(rows) for rows in senses])))
    spelling = np.arange(len(senses))[None, :]
    chosen: NDArray[np.int64] = _align(np.concatenate(senses), offsets, spelling)[1][0]
    return chosen


def _align(
    centroids: FloatArray, offsets: NDArray[np.int64], spellings: NDArray[np.int64]
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Return the composed senses, [n, k, d], and the senses that each took, [n, k, m]."""
    mean, valid = _gather(centroids, offsets, spellings[:, 0])
    taken = [np.broadcast_to(np.arange(mean.shape[1]), mean.shape[:2])]
    for j in range(1, spellings.shape[1]):
        senses, there = _gather(centroids, offsets, spellings[:, j])
        squared = (senses**2).sum(axis=2)[:, None, :] - 2.0 * (mean @ senses.transpose(0, 2, 1))
        squared = np.where(there[:, None, :], squared, np.inf)
        nearest = squared.argmin(axis=2)
        taken.append(nearest)
        mean += (np.take_along_axis(senses, nearest[:, :, None], axis=1) - mean) / np.float32(j + 1)
    mean[~valid] = np.nan
    return mean, np.stack(taken, axis=2)


def _gather(
    centroids: FloatArray, offsets: NDArray[np.int64], tokens: NDArray[np.int64]
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return the senses of each token padded to the most, [n, k, d], and which are real, [n, k]."""
    counts = offsets[tokens + 1] - offsets[tokens]
    slots = np.arange(int(counts.max(initial=0)))
    valid = slots[None, :] < counts[:, None]
    rows = np.where(valid, offsets[tokens][:, None] + slots[None, :], offsets[tokens][:, None])
    return centroids[rows].astype(np.float32), valid
