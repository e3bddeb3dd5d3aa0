"""The census: which occurrences will be kept, counted from token ids before any forward pass.

For the keys ``next`` and ``input`` the token ids say under which token every state will be filed,
so the census knows the sample itself: the limit of a token is the ``max_occurrences``-th smallest
hash among its occurrences, a window without an occurrence under its limit is never run, and the
others are run up to the last one. What extraction stores is then the sample and nothing else, and
it has ended when the last such window has run: no occurrence that is left could enter.

For ``predicted`` only the forward pass can say the token. Its limit is guessed from how often the
token occurs in the text,

    limit(v) = 2^64 * min(1, safety * max_occurrences / count(v)),

so about ``safety * max_occurrences`` rows are stored of a token as common in predictions as in
text, and the cap is applied when the shards are collected. A token ends with fewer rows than it
could have, never with a biased sample, exactly when some of its predicted occurrences lie above
the limit and fewer than the cap under it: when it is predicted less than 1 / ``safety`` times as
often as it is written, give or take the chance of the hashes. Such rows are counted
(``missing_rows``). SmolLM2 over 185,000 tokens of Wikipedia, cap 20: safety 2 stores 1.25 times
the sample and misses 0.67 % of it, 4 stores 1.45 times and misses 0.05 %, 8 stores 1.63 times and
misses 0.004 %.

A token written no more than ``safety * max_occurrences`` times has no limit, so for ``predicted``
no position can be passed over before its token is known: any might predict such a token.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dskd_core import interruption
from dskd_core.config import EmbeddingsConfig
from dskd_core.corpus.store import Windows
from dskd_core.embeddings.sampling import OPEN, hash_limits, occurrence_hashes

_PIECE_TOKENS = 1 << 22


@dataclass(frozen=True)
class Census:
    """What is known of the sample before the teacher runs.

    Attributes:
        counts: [v] int64, occurrences of each token id in the training windows, as the next or the
            input token (for ``predicted`` as the next).
        limits: [v] uint64, an occurrence is kept only if its hash is at most its token's limit.
        lengths: [n_windows] int64, tokens of each window that must be run; 0 for none.
        exact: whether the limits give the sample itself, not a bound on it.
    """

    counts: NDArray[np.int64]
    limits: NDArray[np.uint64]
    lengths: NDArray[np.int64]
    exact: bool

    def admits(self, tokens: NDArray[np.integer], hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Say which occurrences may be kept; a token the text never has knows no limit."""
        known = tokens < len(self.limits)
        return ~known | (hashes <= self.limits[np.where(known, tokens, 0)])


def take_census(windows: Windows, config: EmbeddingsConfig) -> Census:
    """Count the training windows and fix the limit of every token.

    Two or three passes over the token ids, about 50 ns a token in all. Memory besides the windows:
    some 200 MB a pass, and about 40 bytes a row of the sample of capped tokens. Held-out windows
    are never run.
    """
    key = "input" if config.key == "input" else "next"
    cap = config.max_occurrences
    counts = np.zeros(int(windows.token_ids.max(initial=-1)) + 1, dtype=np.int64)
    for tokens, _ in _pieces(windows, key):
        counts += np.bincount(tokens[tokens >= 0], minlength=len(counts))
    if config.key == "predicted":
        limits = share_limits(config.safety * cap / np.maximum(counts, 1))
        return Census(counts, limits, np.where(windows.heldout, 0, windows.lengths), exact=False)
    limits = _exact_limits(windows, key, counts, config)
    lengths = _needed_lengths(windows, key, limits, config.seed)
    return Census(counts, limits, lengths, exact=True)


def share_limits(shares: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return the limits under which so large a share of all hashes falls.

    >>> share_limits(np.array([0.5, 3.0])).tolist() == [2**63, 2**64 - 1]
    True
    """
    limits = np.full(len(shares), OPEN)
    closed = shares < 1.0
    limits[closed] = (shares[closed] * 2.0**64).astype(np.uint64)
    return limits


def _exact_limits(
    windows: Windows, key: str, counts: NDArray[np.int64], config: EmbeddingsConfig
) -> NDArray[np.uint64]:
    """Return the cap-th smallest hash of every token with more occurrences than that.

    Only hashes under a guess that leaves a token its cap with eight standard deviations to spare
    are held and sorted; a token for which even that was too few is done again without a guess.
    """
    cap = config.max_occurrences
    limits = np.full(len(counts), OPEN)
    guess = share_limits((cap + 8 * cap**0.5 + 32) / np.maximum(counts, 1))
    wanted = counts > cap
    while wanted.any():
        tokens, hashes = _under(windows, key, wanted, guess, config.seed)
        unique, kept, found = hash_limits(tokens, hashes, cap)
        full = unique[kept == cap]
        limits[full] = found[kept == cap]
        wanted[full] = False
        guess[wanted] = OPEN
    return limits


def _under(
    windows: Windows,
    key: str,
    wanted: NDArray[np.bool_],
    guess: NDArray[np.uint64],
    seed: int,
) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
    """Return the (token, hash) of the occurrences of wanted tokens that fall under a guess."""
    held: list[tuple[NDArray[np.int32], NDArray[np.uint64]]] = []
    for tokens, places in _pieces(windows, key):
        interruption.check()
        hashes = places.hashes(windows, seed)
        under = (tokens >= 0) & wanted[tokens] & (hashes <= guess[tokens])
        held.append((tokens[under].astype(np.int32), hashes[under]))
    return np.concatenate([t for t, _ in held]), np.concatenate([h for _, h in held])


def _needed_lengths(
    windows: Windows, key: str, limits: NDArray[np.uint64], seed: int
) -> NDArray[np.int64]:
    """Return how far each window must be run: to its last position under its token's limit."""
    lengths = np.zeros(windows.n_windows, dtype=np.int64)
    for tokens, places in _pieces(windows, key):
        interruption.check()
        kept = np.flatnonzero((tokens >= 0) & (places.hashes(windows, seed) <= limits[tokens]))
        np.maximum.at(lengths, places.windows[kept], places.offsets[kept] + 1)
    return lengths


@dataclass(frozen=True)
class _Places:
    """Where the positions of a run of windows lie: window number, position within it."""

    windows: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def hashes(self, windows: Windows, seed: int) -> NDArray[np.uint64]:
        hashes = windows.document_hashes[windows.documents[self.windows]]
        return occurrence_hashes(hashes, windows.starts[self.windows] + self.offsets, seed)


def _pieces(windows: Windows, key: str) -> Iterator[tuple[NDArray[np.int64], _Places]]:
    """Yield the training positions piece by piece: the token a state is filed under, its place.

    The token is -1 where a document ends and there is no next one.
    """
    training = np.flatnonzero(~windows.heldout)
    lengths = windows.lengths[training]
    piece = np.cumsum(lengths) // _PIECE_TOKENS
    bounds = np.flatnonzero(np.diff(piece, prepend=-1, append=-1))
    ends = np.append(windows.documents[1:] != windows.documents[:-1], True)
    for start, stop in pairwise(bounds):
        own = training[start:stop]
        repeats = windows.lengths[own]
        numbers = np.repeat(own, repeats)
        first = np.cumsum(repeats) - repeats
        offsets = np.arange(len(numbers)) - np.repeat(first, repeats)
        at = windows.offsets[numbers] + offsets
        if key == "input":
            tokens = windows.token_ids[at].astype(np.int64)
        else:
            tokens = windows.token_ids[np.minimum(at + 1, len(windows.token_ids) - 1)]
            tokens = tokens.astype(np.int64)
            tokens[(first + repeats - 1)[ends[own]]] = -1
        yield tokens, _Places(numbers, offsets)
