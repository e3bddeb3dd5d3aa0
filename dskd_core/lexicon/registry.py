"""The readers by the name a configuration calls them. A new source is a module and a line here."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from dskd_core.errors import ConfigError
from dskd_core.lexicon import moby, morpholex, morphynet, roget, wiktextract, word_pairs
from dskd_core.lexicon.rows import Source


@dataclass(frozen=True)
class Reader:
    """How to read one kind of file, and the licence its rows are under unless told otherwise."""

    read: Callable[[Source], Iterator[Any]]
    licence: str


PAIR_READERS = {
    "roget": Reader(roget.read_pairs, roget.LICENCE),
    "wiktextract": Reader(wiktextract.read_pairs, wiktextract.LICENCE),
    "moby": Reader(moby.read_pairs, moby.LICENCE),
    "word_pairs": Reader(word_pairs.read_pairs, word_pairs.LICENCE),
    "synonym_pairs": Reader(word_pairs.read_synonyms, word_pairs.LICENCE),
    "antonym_pairs": Reader(word_pairs.read_antonyms, word_pairs.LICENCE),
}
DERIVATION_READERS = {
    "morphynet": Reader(morphynet.read_derivations, morphynet.LICENCE),
    "morpholex": Reader(morpholex.read_derivations, morpholex.LICENCE),
}


def reader_of(kind: str, readers: dict[str, Reader]) -> Reader:
    """Return the reader called ``kind``.

    Raises:
        ConfigError: if there is none; the message lists those there are.
    """
    if kind not in readers:
        raise ConfigError(
            f"No reader is called {kind!r}; name one of {', '.join(sorted(readers))}."
        )
    return readers[kind]
