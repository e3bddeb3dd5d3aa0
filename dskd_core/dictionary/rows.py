"""The rows of a dictionary by slice: those of a large one are never in memory all at once."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dskd_core.dictionary.store import GROUP
from dskd_core.senses.inventory import GROUP as SENSES
from dskd_core.store.arrays import get_array, open_array, peek_rows
from dskd_core.store.artifacts import Artifact

_IN_MEMORY_BYTES = 512 << 20
_BLOCK_BYTES = 64 << 20


class RowReader:
    """Rows read when they are asked for; kept in memory where all of them take up to 512 MiB.

    Attributes:
        own_offsets: [V + 1] int64, senses of token t are rows own_offsets[t]:own_offsets[t + 1].
        hidden_size: d.
        is_checked: whether every chunk was compared with its checksum; whoever has read all of
            them says so, and single rows are read without their chunks from then on.
    """

    def __init__(self, dictionary: Artifact, *, in_memory_bytes: int = _IN_MEMORY_BYTES) -> None:
        self._group = dictionary.group(GROUP)
        self._array = open_array(self._group, "rows")
        self.own_offsets: NDArray[np.int64] = get_array(self._group, "own_offsets")
        self.hidden_size = int(self._array.shape[1])
        self.fits = self._array.nbytes <= in_memory_bytes
        self.is_checked = False

    def __len__(self) -> int:
        return int(self._array.shape[0])

    @property
    def n_token_rows(self) -> int:
        """How many rows are tokens' senses; those of composed words come after them."""
        return int(self.own_offsets[-1])

    @cached_property
    def wants_index(self) -> bool:
        """Whether rows are not in memory, and single ones can be read: they lie on a local disk."""
        return not self.fits and peek_rows(self._group, "rows", np.empty(0, int)) is not None

    @cached_property
    def _all(self) -> NDArray[np.floating]:
        return np.asarray(get_array(self._group, "rows"))

    def slice(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return rows ``start:stop``, [n, d] float32.

        Raises:
            DataError: if a chunk is damaged.
        """
        whole = self._all[start:stop] if self.fits else None
        rows = get_array(self._group, "rows", slice(start, stop)) if whole is None else whole
        return rows.astype(np.float32)

    def take(self, rows: NDArray[np.integer]) -> NDArray[np.floating]:
        """Return some rows, [n, d] in their own dtype; a chunk is read at most once.

        Raises:
            DataError: if a chunk is damaged.
        """
        if self.fits:
            return np.asarray(self._all[rows])
        if self.is_checked and (peeked := peek_rows(self._group, "rows", rows)) is not None:
            return peeked
        taken = np.empty((len(rows), self.hidden_size), self._array.dtype)
        n_rows = int(self._array.chunks[0])
        chunks = rows // n_rows
        for chunk in np.unique(chunks):
            here = np.flatnonzero(chunks == chunk)
            first, last = int(rows[here].min()), int(rows[here].max())
            taken[here] = get_array(self._group, "rows", slice(first, last + 1))[rows[here] - first]
        return taken

    def blocks(self, stop: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield the rows before ``stop`` in blocks: the first row's number, [n, d] float32."""
        chunk = int(self._array.chunks[0])
        row_bytes = 4 * self.hidden_size
        n_rows = max(1, _BLOCK_BYTES // row_bytes)
        n_rows = n_rows if self.fits else max(chunk, n_rows // chunk * chunk)
        for start in range(0, stop, n_rows):
            yield start, self.slice(start, min(stop, start + n_rows))


class SenseCounts:
    """How many embeddings each sense of an inventory has, and each token.

    The first rows of a dictionary are the senses of its inventory, in the same order.

    Attributes:
        tokens: [t] int32, ascending.
        counts: [n] int32, embeddings of each sense.
        n_occurrences: [t] int32, embeddings of each token.
    """

    def __init__(self, senses: Artifact) -> None:
        group = senses.group(SENSES)
        self.tokens: NDArray[np.int32] = get_array(group, "tokens")
        self.counts: NDArray[np.int32] = get_array(group, "counts")
        self.n_occurrences: NDArray[np.int32] = get_array(group, "n_occurrences")

    def place_of(self, token: int) -> int | None:
        """Return the index of a token in ``tokens``; None if it never occurred."""
        index = int(np.searchsorted(self.tokens, token))
        known = index < len(self.tokens) and self.tokens[index] == token
        return index if known else None

    def occurrences_of(self, token: int) -> int:
        """Return the embeddings of a token; 0 if it never occurred."""
        index = self.place_of(token)
        return 0 if index is None else int(self.n_occurrences[index])
