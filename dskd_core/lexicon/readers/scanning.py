"""Which lines of a block are worth decoding, found without making a Python object of each."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]


class Lines(NamedTuple):
    """The lines of a block: line i is ``block[starts[i]:ends[i]]``, without its LF.

    Attributes:
        codes: [n_bytes] uint8, the block.
        starts: [n_lines] int64.
        ends: [n_lines] int64.
    """

    codes: NDArray[np.uint8]
    starts: Positions
    ends: Positions

    def look_whole(self) -> NDArray[np.bool_]:
        """Say for each line whether it starts and ends as a JSON object does."""
        whole: NDArray[np.bool_] = (self.codes[self.starts] == ord("{")) & (
            self.codes[self.ends - 1] == ord("}")
        )
        return whole


def lines_in(block: bytes) -> Lines:
    r"""Find the lines of a block that ends in a LF.

    >>> lines_in(b"ab\n\nc\n").ends.tolist()
    [2, 3, 5]
    """
    codes = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(codes == ord("\n"))
    return Lines(codes, np.concatenate(([0], ends[:-1] + 1)), ends)


def lines_with(lines: Lines, words: tuple[bytes, ...], rare: int) -> Positions:
    r"""Return the lines that hold one of ``words`` (or a mixture of their bytes), ascending.

    Args:
        lines: of one block.
        words: of equal length; what they share is looked at first.
        rare: place of the rarest byte in them, the same byte in all. One pass over the block
            finds it, and only what stands around it is compared.

    >>> lines_with(lines_in(b"a dog\na cat\na dig\n"), (b"dog", b"dig"), rare=2).tolist()
    [0, 2]
    """
    codes, n = lines.codes, len(words[0])
    at = np.flatnonzero(codes == words[0][rare]) - rare
    at = at[(at >= 0) & (at <= len(codes) - n)]
    # Outwards from the rare byte: its neighbours exclude most places at once.
    for place in sorted(range(n), key=lambda i: abs(i - rare)):
        wanted = np.unique(np.frombuffer(bytes(word[place] for word in words), np.uint8))
        found = codes[at + place]
        at = at[found == wanted[0] if len(wanted) == 1 else np.isin(found, wanted)]
    return np.unique(np.searchsorted(lines.ends, at))
