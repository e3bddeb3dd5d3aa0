"""Documents, and the account of what reading them met."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO, ClassVar

from dskd_core.dirty_rows import DirtyRows

MAX_NAME_CHARACTERS = 4096
"""Of an id or a title; a longer one is cut."""

SKIPPED = {
    "redirect": "a wiki page that only points to another",
    "talk_page": "a wiki page of a talk namespace",
    "other_namespace": "a wiki page that is no article",
    "list_page": "a wiki page that lists other pages",
    "disambiguation_page": "a wiki page that lists the meanings of its title",
    "oversized_page": "a wiki page of more than 4 MiB, twice what MediaWiki allows",
    "broken_line": "a line that is not JSON, or says a key twice",
    "not_an_object": "a line that is JSON but no object",
    "no_text": "a row whose text is absent or not a string",
    "unknown_file": "a file of a folder in no format dskd reads",
    "unsupported_file": "an archive of a folder that is not read; unpack it",
    "marker_file": "a file that the writer of a Parquet folder left beside its data",
    "long_line": "a line of more bytes than dskd reads of one",
    "long_document": "a document of more bytes than dskd reads of one",
    "empty_document": "a document without text once markup is stripped",
    "short_document": "a document of fewer tokens than min_document_tokens",
    "beyond_max_tokens": "a document not needed to reach max_tokens",
}
REPAIRED = {
    "invalid_character": "bytes that are not UTF-8 or characters no text may have, now U+FFFD",
    "unclosed_markup": "a mark of a wiki page that has no other half; it went, its text stayed",
    "deep_markup": "a template of a wiki page nested more than 40 deep, dropped unread",
    "long_name": "an id or title of more than 4,096 characters, cut there",
    "duplicate_id": "a document renamed ID#2, ID#3, because its id was taken",
    "cut_document": "a document cut at max_document_tokens, or the last one at max_tokens",
}
STRIPPED = {
    "template": "a template of a wiki page, most of which show no prose",
    "table": "a table",
    "reference": "a reference, or the list of them",
    "file": "an image with its caption, or a gallery",
    "category": "a category",
    "interwiki": "a link to the same page in another language",
    "address": "a web address; the text after it stayed",
    "formula": "a formula",
    "code": "a listing of source code",
    "extension": "an element drawn by an extension, such as a map or a time line",
    "comment": "a comment for editors",
}

_INVALID = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

Wanted = Callable[[str], bool]
"""Asked with a document's id before its text is prepared, which is most of the cost."""


def every(document_id: str) -> bool:
    """Want every document."""
    return True


@dataclass(frozen=True)
class Document:
    """A text and what it is called; ``id`` names it to the end of the pipeline."""

    id: str
    title: str
    text: str


@dataclass
class Reading(DirtyRows):
    """What reading met, counted by code (the keys of ``SKIPPED`` and ``REPAIRED``).

    ``stripped`` counts what went of wiki pages, by the keys of ``STRIPPED``: too much for places.
    """

    codes: ClassVar = SKIPPED | REPAIRED

    stripped: Counter[str] = field(default_factory=Counter)
    n_bytes_total: int = 0
    n_bytes_closed: int = 0
    file: BinaryIO | None = None

    def clean(self, text: str, place: str) -> str:
        r"""Return ``text`` with every character that no text may have replaced by U+FFFD.

        >>> reading = Reading()
        >>> reading.clean("caf\udce9", "a.txt") == "caf\ufffd", reading.counts["invalid_character"]
        (True, 1)
        """
        text, n = _INVALID.subn("\ufffd", text)
        if n:
            self.note("invalid_character", place, n)
        return text

    def name(self, text: str, place: str) -> str:
        """Return an id or a title as :meth:`clean` does, cut where it is too long to be one."""
        if len(text) > MAX_NAME_CHARACTERS:
            self.note("long_name", place)
        return self.clean(text[:MAX_NAME_CHARACTERS], place)

    @property
    def n_bytes(self) -> int:
        """Bytes of the source read so far, as they lie on the disk."""
        is_open = self.file is not None and not self.file.closed
        return self.n_bytes_closed + (self.file.tell() if is_open and self.file else 0)

    def report(self) -> dict[str, Any]:
        """Return the account as plain values, for the record of an artifact."""
        return {
            "skipped": self.counted(SKIPPED),
            "repaired": self.counted(REPAIRED),
            "stripped": {code: self.stripped[code] for code in STRIPPED if self.stripped[code]},
            "places": self.sorted_places(),
            "meaning": {
                code: meaning
                for code, meaning in sorted((self.codes | STRIPPED).items())
                if code in self.places or self.stripped[code]
            },
        }
