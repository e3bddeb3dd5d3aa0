"""The sense inventory of Eq. 1 as arrays: in shards, joined, and in memory.

``senses.zarr`` of a ``senses`` artifact holds

    tokens        [t]     int32    tokens with senses, ascending
    offsets       [t + 1] int64    senses of token i are rows offsets[i]:offsets[i + 1]
    centroids     [n, d]  float16  the largest sense of a token first (float32 if one overflows)
    counts        [n]     int32    embeddings of each sense
    n_occurrences [t]     int32    embeddings of each token
    inertia       [t]     float32  sum of squared distances to the nearest sense

A shard (``senses-shard``, one range of tokens) is the same with float32 centroids.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from numpy.typing import NDArray

from dskd_core.store.arrays import get_array, new_array, open_array, put_array
from dskd_core.store.artifacts import Artifact, Draft

if TYPE_CHECKING:  # torch, which no reader of senses waits for
    from dskd_core.senses.kmeans import Clustering

GROUP = "senses.zarr"
_CHUNK_BYTES = 16 << 20
_FLOAT16_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class SenseInventory:
    """All senses of all tokens, in memory.

    Attributes:
        tokens: [t] int32, ascending.
        offsets: [t + 1] int64; senses of token i are rows ``offsets[i]:offsets[i + 1]``.
        centroids: [n, d] float16 or float32, the largest sense of a token first.
        counts: [n] int32, embeddings of each sense.
        n_occurrences: [t] int32, embeddings of each token.
        inertia: [t] float32.
        key: the token a state was filed under: predicted, next or input.
    """

    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]
    centroids: NDArray[np.floating]
    counts: NDArray[np.int32]
    n_occurrences: NDArray[np.int32]
    inertia: NDArray[np.float32]
    key: str

    def senses_of(self, token_id: int) -> NDArray[np.floating]:
        """Return the senses of a token, [k_i, d]; none (k_i = 0) if it never occurred."""
        index = int(np.searchsorted(self.tokens, token_id))
        if index == len(self.tokens) or self.tokens[index] != token_id:
            return self.centroids[:0]
        return self.centroids[self.offsets[index] : self.offsets[index + 1]]


def load_senses(artifact: Artifact) -> SenseInventory:
    """Read a sense inventory into memory: ``n * d`` values of 16 bits, and little else."""
    group = artifact.group(GROUP)
    arrays = {
        name: get_array(group, name)
        for name in ("tokens", "offsets", "centroids", "counts", "n_occurrences", "inertia")
    }
    return SenseInventory(**arrays, key=str(group.attrs["key"]))


def write_shard(
    group: zarr.Group,
    tokens: NDArray[np.int32],
    n_occurrences: NDArray[np.int64],
    senses: "Sequence[Clustering]",
) -> NDArray[np.float32]:
    """Write the senses of a range of tokens; return their centroids.

    Args:
        group: an empty group.
        tokens: [t], ascending.
        n_occurrences: [t], embeddings of each.
        senses: of each.
    """
    centroids = np.concatenate([s.centroids for s in senses])
    put_array(group, "centroids", centroids)
    _put_index(
        group,
        tokens=tokens,
        n_senses=np.array([len(s.counts) for s in senses]),
        counts=np.concatenate([s.counts for s in senses]),
        n_occurrences=n_occurrences,
        inertia=np.array([s.inertia for s in senses]),
    )
    return centroids


def join_shards(
    draft: Draft, shards: Sequence[zarr.Group], *, largest: float, attributes: dict[str, Any]
) -> None:
    """Write the arrays of all shards end to end, and count what they hold.

    Args:
        draft: of the ``senses`` artifact.
        shards: in the order of their tokens.
        largest: absolute value in any centroid; where float16 cannot hold it, float32 is written.
        attributes: of the group; ``hidden_size`` is one.
    """
    dtype = np.dtype(np.float16 if largest <= _FLOAT16_MAX else np.float32)
    group = draft.write_group(GROUP)
    group.attrs.update(attributes)
    columns = {
        name: np.concatenate([get_array(shard, name) for shard in shards])
        for name in ("tokens", "counts", "n_occurrences", "inertia")
    }
    n_senses = np.concatenate([np.diff(get_array(shard, "offsets")) for shard in shards])
    _put_index(group, n_senses=n_senses, **columns)
    shape = (int(n_senses.sum()), int(attributes["hidden_size"]))
    _put_centroids(group, shards, shape, dtype)
    draft.counts |= {
        "tokens": len(n_senses),
        "senses": shape[0],
        "embeddings": int(columns["n_occurrences"].sum()),
        "tokens_that_keep_their_rows": int((columns["n_occurrences"] == n_senses).sum()),
    }
    draft.report |= {
        "dtype": dtype.name,
        "inertia": float(columns["inertia"].sum(dtype=np.float64)),
        "largest_value": largest,
    }


def _put_index(
    group: zarr.Group,
    *,
    tokens: np.ndarray,
    n_senses: np.ndarray,
    counts: np.ndarray,
    n_occurrences: np.ndarray,
    inertia: np.ndarray,
) -> None:
    put_array(group, "tokens", tokens.astype(np.int32))
    put_array(group, "offsets", np.concatenate(([0], np.cumsum(n_senses))).astype(np.int64))
    put_array(group, "counts", counts.astype(np.int32))
    put_array(group, "n_occurrences", n_occurrences.astype(np.int32))
    put_array(group, "inertia", inertia.astype(np.float32))


def _put_centroids(
    group: zarr.Group, shards: Sequence[zarr.Group], shape: tuple[int, int], dtype: np.dtype
) -> None:
    """Write the centroids of all shards, whole chunks at a time: none is read back."""
    chunk = max(1, min(shape[0], _CHUNK_BYTES // (shape[1] * dtype.itemsize)))
    array = new_array(group, "centroids", shape, dtype, chunk_rows=chunk)
    waiting, n_written = np.empty((0, shape[1]), dtype), 0
    for shard in shards:
        source = open_array(shard, "centroids")
        for start in range(0, source.shape[0], chunk):
            block = np.asarray(source[start : start + chunk]).astype(dtype)
            waiting = np.concatenate([waiting, block])
            if len(waiting) >= chunk:
                array[n_written : n_written + chunk] = waiting[:chunk]
                waiting, n_written = waiting[chunk:], n_written + chunk
    if len(waiting):
        array[n_written:] = waiting
