"""The explorer's pages as files that need no server: for a list of words, or the most frequent."""

import contextlib
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from dskd_core.errors import ConfigError, DataError
from dskd_core.explorer.content import map_content, pair_content, training_content
from dskd_core.explorer.maps import MAX_WORDS
from dskd_core.explorer.opened import OpenDictionary, choose
from dskd_core.explorer.pages import SCRIPT, STYLE, Pages
from dskd_core.explorer.shelf import about, head_note
from dskd_core.explorer.words import read_word
from dskd_core.store.artifacts import ArtifactStore

INDEX = "index.html"
_SLUG = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class Exported:
    """How many pages were written, and the words that the dictionary does not have."""

    n_pages: int
    unknown: list[str]


class StaticLinks:
    """Files beside one another; a page that was not written has no address."""

    is_static = True

    def __init__(self, words: Iterable[str], pairs: Iterable[tuple[str, str]]) -> None:
        self._words, self._pairs = set(words), {frozenset(pair) for pair in pairs}

    def to(self, name: str, /, **parameters: Any) -> str | None:
        """Return the file of a page, or None."""
        if name in (SCRIPT, STYLE):
            return name
        if name == "home":
            return INDEX
        if name in ("map", "training") and not parameters:
            return f"{name}.html"
        if name == "word" and parameters["q"] in self._words:
            return _file("word", parameters["q"])
        if name == "pair" and frozenset((parameters["a"], parameters["b"])) in self._pairs:
            return _file("pair", *sorted((parameters["a"], parameters["b"])))
        return None


def export_pages(
    root_uri: str,
    folder: Path,
    *,
    words_file: Path | None = None,
    most_frequent: int = 100,
    dictionary: str = "",
) -> Exported:
    """Write the pages of some words, of the pairs among them, a map, and what training did.

    The nearest senses of other words are left out where a dictionary's rows take over 512 MiB:
    they would be read once a word.

    Args:
        root_uri: the root.
        folder: made if need be; files of the same names are replaced.
        words_file: a word a line, UTF-8; without it the most frequent words are taken.
        most_frequent: how many of them.
        dictionary: its fingerprint, or how it begins; the newest where it is empty.

    Raises:
        ArtifactError: if the root has no such dictionary, or a file of it is damaged.
        ConfigError: if the file of words cannot be read, or several dictionaries begin so.
        DataError: if the dictionary has none of the words.
    """
    store = ArtifactStore(root_uri)
    with contextlib.closing(OpenDictionary(store, choose(store, dictionary))) as opened:
        return _export(opened, folder, words_file, most_frequent)


def _export(
    opened: OpenDictionary, folder: Path, words_file: Path | None, most_frequent: int
) -> Exported:
    words, unknown = _words(opened, words_file, most_frequent)
    pairs = _pairs_among(opened, words)
    pages = Pages(StaticLinks(words, pairs))
    folder.mkdir(parents=True, exist_ok=True)
    for name in (SCRIPT, STYLE):
        (folder / name).write_text(pages.read(name), "utf-8")
    shared = {"about": about(opened), "here": "", "head_note": head_note(opened)}
    n_pages = 0

    def write(file: str, template: str, **content: Any) -> None:
        nonlocal n_pages
        (folder / file).write_text(pages.render(template, **(shared | content)), "utf-8")
        n_pages += 1

    write(INDEX, "index", words=[_counted(opened, word) for word in words])
    for word in words:
        found = read_word(opened, word, with_nearest=opened.rows.fits)
        write(_file("word", word), "word", word=found)
    for pair in pairs:
        write(_file("pair", *sorted(pair)), "pair", **pair_content(opened, *pair))
    write("map.html", "map", here="map", **map_content(opened, ", ".join(words[:MAX_WORDS])))
    write("training.html", "training", here="training", **training_content(opened))
    return Exported(n_pages, unknown)


def _words(
    opened: OpenDictionary, words_file: Path | None, most_frequent: int
) -> tuple[list[str], list[str]]:
    if words_file is None:
        words = opened.most_frequent(most_frequent)
        unknown: list[str] = []
    else:
        try:
            lines = words_file.read_text("utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{words_file} cannot be read ({error}); give a file of UTF-8, a word a line."
            ) from error
        words, unknown = opened.known_words(lines)
    if not words:
        raise DataError(
            f"The dictionary {opened.artifact.fingerprint} has none of the words to export "
            f"({', '.join(unknown[:5]) or 'no words were given'}); name words of its lexicon."
        )
    return words, unknown


def _pairs_among(opened: OpenDictionary, words: list[str]) -> list[tuple[str, str]]:
    """Return the pairs of words that the lexicon relates."""
    related = {word: {p["neighbour"] for p in opened.queries.relations(word)} for word in words}
    return [(one, other) for one, other in combinations(words, 2) if other in related[one]]


def _counted(opened: OpenDictionary, word: str) -> dict[str, Any]:
    [row] = [r for r in opened.search(word, 1000) if r["text"] == word and r["token_id"] < 0]
    return row


def _file(kind: str, *words: str) -> str:
    """Return a name that any file system takes, another for other words.

    >>> _file("word", "bank"), _file("word", "a/b c")
    ('word-bank-4381dc2a.html', 'word-a-b-c-0af99a60.html')
    """
    text = "\t".join(words)
    slug = _SLUG.sub("-", text.lower()).strip("-")[:40]
    return f"{kind}-{slug}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.html"
