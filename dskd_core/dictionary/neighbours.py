"""Which rows are a token's own senses, its synonyms' and its antonyms': ranges in, CSR out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Csr:
    """Row ids by token: those of token t are ``rows[offsets[t]:offsets[t + 1]]``.

    Attributes:
        offsets: [n_tokens + 1] int64.
        rows: [n] int64, indices into the dictionary's rows.
    """

    offsets: IntArray
    rows: IntArray

    @classmethod
    def from_counts(cls, counts: NDArray[np.integer], rows: IntArray) -> "Csr":
        """Return lists of so many rows each, which are one after the other in ``rows``."""
        return cls(np.concatenate(([0], np.cumsum(counts))).astype(np.int64), rows)

    def rows_of(self, token: int) -> IntArray:
        """Return the row ids of one token."""
        return self.rows[self.offsets[token] : self.offsets[token + 1]]


def expand_ranges(starts: IntArray, stops: IntArray) -> tuple[IntArray, IntArray]:
    """Return every integer of the ranges, and the range each comes from.

    >>> expand_ranges(np.array([4, 9]), np.array([6, 10]))
    (array([4, 5, 9]), array([0, 0, 1]))
    """
    lengths = stops - starts
    owner = np.repeat(np.arange(len(starts)), lengths)
    first = np.concatenate(([0], np.cumsum(lengths)))[:-1]
    return starts[owner] + np.arange(len(owner)) - first[owner], owner


def neighbour_rows(
    tokens: IntArray,
    starts: IntArray,
    stops: IntArray,
    own: Csr,
    *,
    n_tokens: int,
) -> Csr:
    """Return, by token, the rows of its neighbours, never one of its own.

    Args:
        tokens: [n_links] int64, token of each link, in the order rows shall have within a token.
        starts: [n_links], first row of the neighbour's senses.
        stops: [n_links], one past the last.
        own: the tokens' own senses; a row among them is dropped from the result.
        n_tokens: size of the vocabulary.
    """
    rows, link = expand_ranges(starts, stops)
    return without_own(rows, tokens[link], own, n_tokens=n_tokens)


def without_own(rows: IntArray, owner: IntArray, own: Csr, *, n_tokens: int) -> Csr:
    """Return rows by the token that each is listed for, but for those that are its own senses."""
    keep = (rows < own.offsets[owner]) | (rows >= own.offsets[owner + 1])
    rows, owner = rows[keep], owner[keep]
    order = np.argsort(owner, kind="stable")
    return Csr.from_counts(np.bincount(owner, minlength=n_tokens), rows[order])


def own_rows(tokens: NDArray[np.int32], offsets: IntArray, *, n_tokens: int) -> Csr:
    """Return each token's own senses as CSR over the whole vocabulary; own rows are consecutive."""
    counts = np.zeros(n_tokens, dtype=np.int64)
    counts[tokens] = np.diff(offsets)
    return Csr.from_counts(counts, np.arange(int(offsets[-1])))
