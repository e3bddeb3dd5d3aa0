"""k-means of each token's embeddings (Eq. 1 of arXiv:2602.22351), one interface for three backends.

Eq. 1: ``S_t = argmin_S sum_x min_(s in S) |x - s|^2`` over sets S of k rows. What it does not say:
a token with n <= k rows, or with at most k different ones, has these rows as its senses and inertia
0. A cluster that loses all its rows restarts at the row farthest from its own centroid; one still
empty after the last iteration is left out, so k_i may be less than k.

A backend answers one question only: which rows belong together. Everything else (tokens with few
rows, duplicates, means, order of the senses) is done here, so it is alike in all of them.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dskd_core.config import SensesConfig
from dskd_core.decoder.precision import check_computes, resolved_senses
from dskd_core.errors import DataError
from dskd_core.senses import cuml_backend, sklearn_backend, torch_backend
from dskd_core.threads import usable_processors

_THREADED_BYTES = 64 << 20
"""Of rows that are worth threads: numpy lets go of the interpreter while it reads them."""
BACKENDS = {
    "torch": torch_backend.assign,
    "cuml": cuml_backend.assign,
    "sklearn": sklearn_backend.assign,
}


@dataclass(frozen=True)
class Clustering:
    """The senses of one token.

    Attributes:
        centroids: means of the clusters, float32 [k_i, d], the largest cluster first (of equal
            ones the one with the earliest row).
        labels: cluster of each row, int32 [n_i].
        counts: rows of each cluster, int32 [k_i].
        inertia: sum of squared distances of the rows to their centroids.
    """

    centroids: NDArray[np.float32]
    labels: NDArray[np.int32]
    counts: NDArray[np.int32]
    inertia: float


def cluster(
    points: Sequence[NDArray[np.float32]], token_ids: Sequence[int], config: SensesConfig
) -> list[Clustering]:
    """Cluster the embeddings of each token into at most ``n_senses`` senses (Eq. 1).

    Args:
        points: the rows of each token, float32 [n_i, d]; a token without rows has no senses.
        token_ids: the id of each token; with the seed it fixes the token's random numbers, so the
            other tokens of the call change nothing.
        config: k, which is the same for all whatever its ``choice``, and how it is found.

    Returns:
        One clustering per token, in the order given.

    Raises:
        ConfigError: if the backend is not installed.
        DataError: if a row has a NaN or an infinity.

    >>> rows = np.array([[0.0], [0.2], [9.0], [9.2], [9.4]], dtype=np.float32)
    >>> found = cluster([rows], [7], SensesConfig(n_senses=2, device="cpu"))[0]
    >>> found.centroids.round(3).tolist(), found.labels.tolist()
    ([[9.199999809265137], [0.10000000149011612]], [1, 1, 0, 0, 0])
    """
    for token_id, rows in zip(token_ids, points, strict=True):
        _check_rows(token_id, rows)
    obvious = [_obvious(rows, config.n_senses) for rows in points]
    many = [i for i, labels in enumerate(obvious) if labels is None]
    assign = BACKENDS[config.backend]
    settings = resolved_senses(config)
    if config.backend != "sklearn":
        check_computes("senses.coarse_dtype", settings.coarse_dtype, config.device)
    assigned = assign([points[i] for i in many], [token_ids[i] for i in many], settings)
    found = dict(zip(many, assigned, strict=True))
    labels = [found[i] if known is None else known for i, known in enumerate(obvious)]
    if sum(rows.nbytes for rows in points) < _THREADED_BYTES or usable_processors() == 1:
        return list(map(summarize, points, labels))
    with ThreadPoolExecutor(usable_processors(), "dskd-summary") as pool:
        return list(pool.map(summarize, points, labels))


def few_distinct(rows: NDArray[np.float32], n_senses: int) -> NDArray[np.int32] | None:
    """Label equal rows alike if there are at most ``n_senses`` different ones; else return None.

    >>> few_distinct(np.array([[1.0], [2.0], [1.0]], dtype=np.float32), 2)
    array([0, 1, 0], dtype=int32)
    """
    if len(rows) <= n_senses:
        return np.arange(len(rows), dtype=np.int32)
    seen: dict[bytes, int] = {}
    labels = np.empty(len(rows), np.int32)
    for index, row in enumerate(rows):
        # Adding zero turns -0.0 into 0.0, which compare equal and differ in their bytes.
        labels[index] = seen.setdefault((row + np.float32(0)).tobytes(), len(seen))
        if len(seen) > n_senses:
            return None
    return labels


def _obvious(rows: NDArray[np.float32], n_senses: int) -> NDArray[np.int32] | None:
    """Return labels that need no search, or None."""
    return np.zeros(len(rows), np.int32) if n_senses == 1 else few_distinct(rows, n_senses)


def summarize(rows: NDArray[np.float32], labels: NDArray[np.int32]) -> Clustering:
    """Return the means, counts and inertia of given clusters, the largest cluster first.

    Rows are added one after the other, so the bits depend on the labels alone: not on the
    backend, the machine or the number of threads.
    """
    if len(rows) == 0:
        return Clustering(rows, labels, np.empty(0, np.int32), 0.0)
    _, first, compact, counts = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.lexsort((first, -counts))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    ordered, sizes = rank[compact].astype(np.int32), counts[order].astype(np.int32)
    by_cluster = np.argsort(ordered, kind="stable")
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    centroids = np.empty((len(order), rows.shape[1]), np.float32)
    errors = np.empty(len(rows), np.float32)
    # A cluster at a time stays in the cache of a processor; all rows at once are read from memory.
    for sense, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        members = by_cluster[start : start + size]
        block = rows[members]
        centroids[sense] = np.add.reduceat(block, [0], axis=0)[0] / size
        block -= centroids[sense]
        errors[members] = np.einsum("nd,nd->n", block, block)
    inertia = float(errors.sum(dtype=np.float64))
    return Clustering(centroids, ordered, sizes, inertia)


def _check_rows(token_id: int, rows: NDArray[np.float32]) -> None:
    if rows.ndim != 2 or rows.dtype != np.float32:
        raise DataError(
            f"Token {token_id} has rows of shape {rows.shape} and dtype {rows.dtype}; "
            "give float32 [n, d]."
        )
    bad = np.flatnonzero(~np.isfinite(rows.sum(axis=1)))
    bad = bad[~np.isfinite(rows[bad]).all(axis=1)]
    if len(bad):
        raise DataError(
            f"Row {bad[0]} of token {token_id} has a NaN or an infinity (so have {len(bad)} of its "
            f"{len(rows)} rows); extract the embeddings again, in bfloat16 if float16 overflowed."
        )
