"""The embeddings of tokens, read from all shards."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import zarr
from numpy.typing import NDArray

from dskd_core.decoder.states import decode_rows
from dskd_core.embeddings.layout import INDEX, SHARD
from dskd_core.errors import DataError
from dskd_core.store.arrays import get_array
from dskd_core.store.artifacts import Artifact, ArtifactStore


@dataclass(frozen=True)
class TokenRows:
    """The embeddings of consecutive tokens.

    Attributes:
        tokens: [t] int32, ascending.
        offsets: [t + 1] int64; rows of token i are ``offsets[i]:offsets[i + 1]``.
        states: [n, d] float32.
        documents: [n] int32, index into the corpus' documents.
        positions: [n] int32, token position in the document.
    """

    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]
    states: NDArray[np.float32]
    documents: NDArray[np.int32]
    positions: NDArray[np.int32]


@dataclass(frozen=True)
class Embeddings:
    """A reader over all shards of an ``embeddings`` artifact."""

    artifact: Artifact
    shards: tuple[Artifact, ...]

    @cached_property
    def _index(self) -> zarr.Group:
        return self.artifact.group(INDEX)

    @cached_property
    def tokens(self) -> NDArray[np.int32]:
        """[n_tokens] int32: tokens with at least one row, ascending."""
        return get_array(self._index, "tokens")

    @cached_property
    def n_rows(self) -> NDArray[np.int64]:
        """[n_tokens] int64: rows of each token, after the cap."""
        return get_array(self._index, "n_rows")

    @cached_property
    def _limits(self) -> NDArray[np.uint64]:
        return get_array(self._index, "limits")

    @property
    def hidden_size(self) -> int:
        """The size d of a state."""
        return int(self._index.attrs["hidden_size"])

    @property
    def key(self) -> str:
        """Which token a state is filed under: predicted, next or input."""
        return str(self._index.attrs["key"])

    @cached_property
    def _groups(self) -> list[tuple[zarr.Group, NDArray[np.int32], NDArray[np.int64]]]:
        groups = [shard.group(SHARD) for shard in self.shards]
        return [(g, get_array(g, "tokens"), get_array(g, "offsets")) for g in groups]

    def read(self, start: int, stop: int) -> TokenRows:
        """Read the rows of ``tokens[start:stop]``, ordered by token and then by hash.

        One contiguous slice of every shard is read, so the order and the bits do not depend on
        how many shards there are.

        Raises:
            DataError: if a state is NaN; the message names the shard.
        """
        wanted = self.tokens[start:stop]
        slices = [self._read_shard(i, wanted) for i in range(len(self.shards))]
        tokens, hashes, documents, positions, states = (
            np.concatenate([piece[column] for piece in slices]) for column in range(5)
        )
        limits = self._limits[start:stop][np.searchsorted(wanted, tokens)]
        kept = np.flatnonzero(hashes <= limits)
        order = kept[np.lexsort((hashes[kept], tokens[kept]))]
        counts = np.bincount(np.searchsorted(wanted, tokens[order]), minlength=len(wanted))
        offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        return TokenRows(wanted, offsets, states[order], documents[order], positions[order])

    def _read_shard(self, shard: int, wanted: NDArray[np.int32]) -> tuple[np.ndarray, ...]:
        group, tokens, offsets = self._groups[shard]
        low, high = np.searchsorted(tokens, [wanted[0], wanted[-1] + 1]) if len(wanted) else (0, 0)
        rows = slice(int(offsets[low]), int(offsets[high]))
        scales = get_array(group, "scales", rows) if "scales" in group else None
        bits = get_array(group, "states", rows)
        states = decode_rows(bits, scales, str(group.attrs["dtype"]))
        if not np.isfinite(states).all():
            raise DataError(
                f"The shard {self.shards[shard].uri} holds NaN or infinite states; "
                "delete that folder and run the stage again."
            )
        return (
            np.repeat(tokens[low:high], np.diff(offsets[low : high + 1])),
            *(get_array(group, name, rows) for name in ("hashes", "documents", "positions")),
            states,
        )


def load_embeddings(artifact: Artifact, store: ArtifactStore) -> Embeddings:
    """Open an ``embeddings`` artifact and its shards.

    Raises:
        ArtifactError: if a shard is gone.
    """
    return Embeddings(artifact, tuple(store.shards_of(artifact)))
