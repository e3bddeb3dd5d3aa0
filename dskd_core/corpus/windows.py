"""Windows: which documents are taken, which are held out, and where they are cut.

Every decision is a hash of the document's id, so it is the same whatever the order of the files.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]


def hash64(text: str, *, purpose: str = "", seed: int = 0) -> int:
    """Return 64 uniform bits of ``text``: the first 8 bytes (little-endian) of BLAKE2b.

    Args:
        text: what is hashed, as UTF-8.
        purpose: at most 16 characters; hashes of different purposes are independent.
        seed: another seed gives other bits, except that seed 0 without a purpose is the plain hash.

    >>> hash64("12") == int.from_bytes(blake2b(b"12", digest_size=8).digest(), "little")
    True
    """
    salt = seed.to_bytes(16, "little")
    digest = blake2b(text.encode(), digest_size=8, person=purpose.encode(), salt=salt).digest()
    return int.from_bytes(digest, "little")


def document_hash(document_id: str) -> int:
    """Return the 64 bits that stand for a document wherever occurrences are sampled."""
    return hash64(document_id)


def order_key(document_id: str, seed: int) -> int:
    """Return a document's place in the random order in which ``max_tokens`` takes documents."""
    return hash64(document_id, purpose="order", seed=seed)


def choose_heldout(document_ids: Sequence[str], share: float, seed: int) -> NDArray[np.bool_]:
    """Choose the documents kept for evaluation.

    A document is held out if its hash falls below ``share`` of the range. If none does, the one of
    the smallest hash is, so that a small corpus has something to be scored on; if all do, the one
    of the largest is not.

    Args:
        document_ids: ids; equal ids fall on the same side.
        share: expected share of documents.
        seed: fixes the choice.

    Returns:
        A flag per document; all False for share 0 or fewer than two different ids.
    """
    if share == 0.0 or len(set(document_ids)) < 2:
        return np.zeros(len(document_ids), dtype=bool)
    hashes = np.array(
        [hash64(name, purpose="heldout", seed=seed) for name in document_ids], dtype=np.uint64
    )
    heldout = hashes < np.uint64(int(share * 2**64))
    if not heldout.any():
        heldout = hashes == hashes.min()
    elif heldout.all():
        heldout = hashes != hashes.max()
    return np.asarray(heldout, dtype=bool)


class Cut(NamedTuple):
    """Where windows lie in the concatenated token ids of all documents."""

    offsets: Int64
    """Shape (n_windows + 1,): window i is ids[offsets[i]:offsets[i + 1]]."""
    documents: Int32
    """Shape (n_windows,): the document's index."""
    starts: Int32
    """Shape (n_windows,): position of the window's first token within its document."""


def cut(document_lengths: Sequence[int] | Int64, max_window_tokens: int) -> Cut:
    """Cut documents, laid end to end, into consecutive windows that never cross a document.

    Args:
        document_lengths: tokens of each document; an empty one gets no window.
        max_window_tokens: most tokens of a window (without the prefix).

    >>> c = cut([5, 0, 2], 3)
    >>> c.offsets.tolist(), c.documents.tolist(), c.starts.tolist()
    ([0, 3, 5, 7], [0, 0, 2], [0, 3, 0])
    """
    lengths = np.asarray(document_lengths, dtype=np.int64)
    n_windows = -(-lengths // max_window_tokens)
    documents = np.repeat(np.arange(len(lengths)), n_windows)
    first_window = np.cumsum(n_windows) - n_windows
    starts = (np.arange(len(documents)) - first_window[documents]) * max_window_tokens
    document_offsets = np.cumsum(lengths) - lengths
    offsets = np.append(document_offsets[documents] + starts, lengths.sum())
    return Cut(offsets.astype(np.int64), documents.astype(np.int32), starts.astype(np.int32))
