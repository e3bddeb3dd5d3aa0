"""What the embeddings store: shards of rows sorted by token, and an index over all of them.

``part.zarr`` of an ``embeddings-shard`` artifact holds

    tokens     [t]     int32    tokens with rows in this shard, ascending
    offsets    [t + 1] int64    rows of token i are offsets[i]:offsets[i + 1]
    states     [n, d]           final states (after the norm); attribute ``dtype`` says which bits
    scales     [n, g]  float16  of every 64 values of a row; only where states are int8
    documents  [n]     int32    index into the corpus' documents
    positions  [n]     int32    token position in the document at which the state stands
    hashes     [n]     uint64   see sampling.py; ascending within a token
    met_tokens [m]     int32    tokens that some position run was filed under, ascending
    n_met      [m]     int64    how many positions, kept or not

``index.zarr`` of the ``embeddings`` artifact holds

    tokens        [t] int32   tokens with rows, ascending
    n_rows        [t] int64   rows of each in the sample
    n_occurrences [t] int64   its occurrences in the training windows
    limits        [t] uint64  the largest hash that is in the sample of all shards together
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import zarr
from numpy.typing import NDArray

from dskd_core.store.arrays import get_array, put_array
from dskd_core.store.artifacts import Artifact

if TYPE_CHECKING:  # torch, which no reader of embeddings waits for
    from dskd_core.embeddings.extraction import Occurrences

SHARD, INDEX = "part.zarr", "index.zarr"
_CHUNK_BYTES = 8 << 20  # a run of tokens is read in whole chunks: larger ones, more for nothing


def write_shard(
    group: zarr.Group,
    states: np.ndarray,
    occurrences: "Occurrences",
    met: NDArray[np.int64],
    dtype: str,
    scales: np.ndarray | None = None,
) -> None:
    """Write a shard.

    Args:
        group: an empty group.
        states: [n, d], the bits that are stored (decoder/states.py), sorted by token, then by hash.
        occurrences: what each row is.
        met: [v] int64, positions filed under each token.
        dtype: which bits ``states`` are.
        scales: [n, ceil(d / 64)] float16, of every 64 values of a row, where they are int8.
    """
    tokens, counts = np.unique(occurrences.tokens, return_counts=True)
    met_tokens = np.flatnonzero(met)
    put_array(group, "tokens", tokens.astype(np.int32))
    put_array(group, "offsets", np.concatenate(([0], np.cumsum(counts))).astype(np.int64))
    put_array(group, "met_tokens", met_tokens.astype(np.int32))
    put_array(group, "n_met", met[met_tokens])
    put_array(group, "states", states, chunk_bytes=_CHUNK_BYTES)
    if scales is not None:
        put_array(group, "scales", scales)
    put_array(group, "documents", occurrences.documents)
    put_array(group, "positions", occurrences.positions)
    put_array(group, "hashes", occurrences.hashes)
    group.attrs["dtype"] = dtype


def all_hashes(shards: Sequence[Artifact]) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
    """Return the token and the hash of every row of all shards."""
    groups = [shard.group(SHARD) for shard in shards]
    tokens = [np.repeat(get_array(g, "tokens"), np.diff(get_array(g, "offsets"))) for g in groups]
    return np.concatenate(tokens), np.concatenate([get_array(g, "hashes") for g in groups])


def all_met(shards: Sequence[Artifact]) -> NDArray[np.int64]:
    """Return [v] int64: positions of all shards filed under each token, kept or not."""
    groups = [shard.group(SHARD) for shard in shards]
    tokens = np.concatenate([get_array(g, "met_tokens") for g in groups])
    met = np.zeros(int(tokens.max(initial=-1)) + 1, dtype=np.int64)
    np.add.at(met, tokens, np.concatenate([get_array(g, "n_met") for g in groups]))
    return met
