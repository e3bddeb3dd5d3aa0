"""Which occurrences are kept: a uniform sample of each token's, whatever the order or sharding.

Every occurrence has a 64-bit hash of its document, its position and the seed. A token keeps the
``max_occurrences`` occurrences of smallest hash, so keeping one never depends on which others were
seen first: the smallest of a union is the smallest among the smallest of its parts.
"""

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)

OPEN = np.uint64(2**64 - 1)
"""The limit that every hash passes."""


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the splitmix64 finaliser of each value: equidistributed and well mixed."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def occurrence_hashes(
    document_hashes: NDArray[np.uint64], positions: NDArray[np.integer], seed: int
) -> NDArray[np.uint64]:
    """Return the hash that decides whether an occurrence is kept.

    Args:
        document_hashes: [n], the hash of each occurrence's document (of its id).
        positions: [n], the token position in the document.
        seed: another seed, another sample.

    Returns:
        [n], uint64, uniform over its range.
    """
    with np.errstate(over="ignore"):
        places = _mix(positions.astype(np.uint64) + np.uint64(1) + np.uint64(seed) * _GOLDEN)
        return _mix(document_hashes + places * _GOLDEN)


def smallest_per_token(
    tokens: NDArray[np.integer], hashes: NDArray[np.uint64], max_occurrences: int
) -> NDArray[np.int64]:
    """Return the indices of the kept occurrences, sorted by token and then by hash.

    >>> tokens = np.array([7, 3, 7, 7]); hashes = np.array([5, 9, 1, 3], dtype=np.uint64)
    >>> smallest_per_token(tokens, hashes, max_occurrences=2)
    array([1, 2, 3])

    Args:
        tokens: [n], the token each occurrence is filed under.
        hashes: [n], from :func:`occurrence_hashes`.
        max_occurrences: most kept of one token.

    Returns:
        [n_kept], int64 indices into the inputs.
    """
    order = np.lexsort((hashes, tokens))
    ordered = tokens[order]
    first_of_run = np.concatenate(([True], ordered[1:] != ordered[:-1]))[: len(ordered)]
    run_starts = np.flatnonzero(first_of_run)
    run_lengths = np.diff(np.append(run_starts, len(ordered)))
    rank = np.arange(len(ordered)) - np.repeat(run_starts, run_lengths)
    return order[rank < max_occurrences].astype(np.int64)


def hash_limits(
    tokens: NDArray[np.integer], hashes: NDArray[np.uint64], max_occurrences: int
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.uint64]]:
    """Return each token's count after the cap and the largest hash that is kept.

    Returns:
        (tokens [t] int32 ascending, kept [t] int64, limits [t] uint64).
    """
    kept = smallest_per_token(tokens, hashes, max_occurrences)
    unique, counts = np.unique(tokens[kept], return_counts=True)
    last = np.cumsum(counts) - 1
    return unique.astype(np.int32), counts.astype(np.int64), hashes[kept][last]
