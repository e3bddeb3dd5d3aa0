"""The readers by the name a configuration calls them.

A source is one module of ``readers`` with one generator function that yields typed rows, made
known by the decorator ``reader``. Nothing else names it: the modules are found by looking.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import msgspec

from dskd_core.errors import ConfigError
from dskd_core.lexicon import readers as package
from dskd_core.lexicon.rows import Source

Read = Callable[[Source], Iterator[Any]]
Function = TypeVar("Function", bound=Callable[..., Iterator[Any]])


@dataclass(frozen=True)
class Reader:
    """How to read one kind of source.

    Attributes:
        kind: what a configuration calls it.
        row: the type of its rows, ``PairRow`` or ``DerivationRow``.
        read: yields the rows of a source.
        licence: what the rows are under unless the configuration says otherwise.
        files: the names of the files it wants, where the source is a folder.
        by_line: whether every line stands for itself, so that a range of bytes can be read alone.
    """

    kind: str
    row: type[msgspec.Struct]
    read: Read
    licence: str
    files: tuple[str, ...] = ()
    by_line: bool = False


_READERS: dict[str, Reader] = {}


def reader(
    kind: str,
    row: type[msgspec.Struct],
    *,
    licence: str,
    files: tuple[str, ...] = (),
    by_line: bool = False,
) -> Callable[[Function], Function]:
    """Make a function known as the reader of ``kind``."""

    def register(read: Function) -> Function:
        _READERS[kind] = Reader(kind, row, read, licence, files, by_line)
        return read

    return register


@cache
def readers() -> dict[str, Reader]:
    """Return all readers by kind, sorted."""
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return dict(sorted(_READERS.items()))


def reader_of(kind: str, row: type[msgspec.Struct]) -> Reader:
    """Return the reader called ``kind`` of those that yield ``row``.

    Raises:
        ConfigError: if there is none; the message lists those there are.
    """
    known = {name: found for name, found in readers().items() if found.row is row}
    if kind not in known:
        raise ConfigError(f"No reader is called {kind!r}; name one of {', '.join(known)}.")
    return known[kind]
