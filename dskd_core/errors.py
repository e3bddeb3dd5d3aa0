"""The four refusals of dskd.

Each is also a builtin, so a caller may catch ``ValueError`` and need not know dskd. A message is
one finished sentence that shows the offending value and ends with the cure. What the world does
(disk, network, CUDA) is not among them: it keeps its own exception and Prefect retries it, while a
refusal is never retried, because the second try would be refused too.
"""

import reprlib
from collections.abc import Collection, Iterator
from itertools import islice
from typing import Any

_LONGEST = 80
_LARGEST_BITS = 128
_LISTED, _LONGEST_LISTED = 10, 200
_NO_MEMORY = ("out of memory", "allocate memory", "bad_alloc", "failed to map")
"""How torch, C++ and the system say that they were given no memory."""


class _Short(reprlib.Repr):
    """Texts of values of any size, at a cost that does not grow with them."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 3, _LONGEST - 2, _LONGEST

    def repr_int(self, x: int, level: int) -> str:
        if x.bit_length() <= _LARGEST_BITS:
            return repr(x)
        return f"<a whole number of {int(x.bit_length() * 0.30103) + 1} digits>"

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:  # reprlib's own sorts all keys
        if level <= 0 and x:
            return "{...}"
        pairs = islice(x.items(), self.maxdict)
        texts = [f"{self.repr1(key, level - 1)}: {self.repr1(v, level - 1)}" for key, v in pairs]
        return "{" + ", ".join(texts + ["..."] * (len(x) > self.maxdict)) + "}"

    def repr_bytes(self, x: bytes, level: int) -> str:
        return repr(x[: self.maxstring])


_SHORT = _Short()


def shown(value: Any) -> str:
    """Return plain data as a message shows it: its ``repr``, of at most 80 characters.

    >>> shown({"seeds": [0, 1]}), shown(10**5000), shown("a" * 200)[:3], len(shown([10**9] * 10**6))
    ("{'seeds': [0, 1]}", '<a whole number of 5001 digits>', "'aa", 77)
    """
    text = _SHORT.repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def listed(names: Collection[str]) -> str:
    """Return names as a message lists them: the first ten, each of at most 200 characters.

    >>> listed(["id", "text"]), listed([str(n) for n in range(12)])
    ('id, text', '0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more')
    """
    cut = _LONGEST_LISTED - 3
    first = [f"{n[:cut]}..." if len(n) > _LONGEST_LISTED else n for n in islice(names, _LISTED)]
    more = len(names) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and those behind it, each once: the cause of each, or else its context.

    >>> error = OSError("disk"); error.__cause__ = ValueError("row")
    >>> [str(one) for one in causes_of(error)]
    ['disk', 'row']
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def says_no_memory(text: str) -> bool:
    """Say whether what a library says of its failure is that it was given no memory.

    >>> says_no_memory("DefaultCPUAllocator: can't allocate memory"), says_no_memory("No such key")
    (True, False)
    """
    return any(words in text.lower() for words in _NO_MEMORY)


class DskdError(Exception):
    """Base of every refusal; a flow never retries one."""


class ConfigError(DskdError, ValueError):
    """A setting, or a combination of settings, that cannot work."""


class DataError(DskdError, ValueError):
    """An input whose content cannot be used at all; dirty rows are counted instead."""


class ArtifactError(DskdError, LookupError):
    """An artifact that is absent, damaged, or was made from other inputs."""


class CapacityError(MemoryError, DskdError):
    """A plan that does not fit its budget, refused before anything runs."""

    # MemoryError stands first: the other way round no unpickler that calls __new__ could make one.
