"""Articles of a MediaWiki XML export, streamed: one page is in memory at a time."""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TextIO
from xml.parsers import expat

from dskd_core.corpus.documents import STRIPPED, Document, Reading, Wanted
from dskd_core.corpus.wikitext import Namespaces, strip
from dskd_core.errors import DataError

MAX_PAGE_BYTES = 4 << 20
"""A page's text in UTF-8; MediaWiki's own limit, unless a wiki raises it, is 2 MiB."""
MAX_FIELD_BYTES = 4 << 10
"""A page's title and id; MediaWiki's limit for a title is 255."""
MAX_TAG_BYTES = 8 << 20
"""A tag or comment of the XML itself, which the parser holds until it ends."""
MAX_XML_DEPTH = 64
MAX_XML_NAMES = 4_096
"""Names of elements and attributes, which the parser holds to the end; an export has about 60."""
MAX_NAMESPACES = 64
"""Of files, media and categories; an export names three."""

_BLOCK_CHARACTERS = 1 << 20
NAMESPACE_KINDS: dict[str, Literal["file", "category"]] = {
    "6": "file",
    "-2": "file",
    "14": "category",
}
PAGE_FIELDS = {
    ("title",): MAX_FIELD_BYTES,
    ("ns",): MAX_FIELD_BYTES,
    ("id",): MAX_FIELD_BYTES,
    ("revision", "text"): MAX_PAGE_BYTES,
}
_REDIRECT = re.compile(r"\s*#\s*redirect\b", re.IGNORECASE)
_LIST_TITLE = re.compile(r"(lists?|index|outline|glossary|glossaries) of\b", re.IGNORECASE)
_DISAMBIGUATION = re.compile(
    r"\{\{\s*(disambig\w*|dab|hndis|geodis|mil-unit-dis|numberdis|(human|place)\s+name\s+disambig\w*)"
    r"\b[^{}]*\}\}",
    re.IGNORECASE,
)


def read_mediawiki(
    stream: TextIO, name: str, reading: Reading, wanted: Wanted
) -> Iterator[Document]:
    """Yield the articles of an export; every other page is counted by code.

    Which links are files and categories is read from the export's own list of namespaces.
    Memory: one block of the stream (1 Mi characters) with its pages, and a page of at most
    ``MAX_PAGE_BYTES``, whatever the file holds.

    Args:
        stream: the XML, decompressed, decoded with ``surrogateescape``.
        name: the file's name, for messages.
        reading: where skipped and repaired pages are counted, and what was stripped of them.
        wanted: pages whose id it refuses are not stripped.

    Raises:
        DataError: if the XML breaks off or is not well-formed, declares a document type (which
            can name other files and grow without limit), or is no export by its depth, the length
            of its tags or the number of their names.
    """
    export = _Export(name)
    for page in export.pages(stream, reading):
        place = f"{page.get('id')} {page.get('title')}"
        if code := _why_no_article(page):
            reading.note(code, place)
        elif wanted(page.get("id")):
            text = _strip(page, export.namespaces, place, reading)
            yield Document(page.get("id"), page.get("title"), text)


@dataclass
class _Page:
    """The fields of a page that are read, each in the pieces it came in."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    n_bytes: dict[str, int] = field(default_factory=dict)
    oversized: set[str] = field(default_factory=set)
    is_redirect: bool = False

    def get(self, name: str) -> str:
        return "".join(self.fields.get(name, ()))

    def start(self, name: str) -> None:
        """Begin a field again: of several revisions the last one's text counts."""
        self.fields[name], self.n_bytes[name] = [], 0
        self.oversized.discard(name)

    def add(self, name: str, text: str, limit: int) -> None:
        self.n_bytes[name] += len(text) if text.isascii() else len(text.encode())
        if self.n_bytes[name] <= limit:
            self.fields[name].append(text)
        else:
            self.oversized.add(name)


class _Export:
    """The pages of an export and its namespaces, by expat's events."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.namespaces = Namespaces()
        self.n_pages = 0
        self._finished: deque[_Page] = deque()
        self._page: _Page | None = None
        self._path: list[str] = []
        self._page_depth = 0
        self._key = self._namespace = ""  # of the site's namespace that is read, and its name
        self._n_namespaces = 0
        self._n_declared = 0  # prefixes of XML, which the parser holds to the end too
        self._parser = expat.ParserCreate("utf-8", "}")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartNamespaceDeclHandler = self._declare
        self._parser.StartDoctypeDeclHandler = self._refuse_doctype

    def pages(self, stream: TextIO, reading: Reading) -> Iterator[_Page]:
        n_fed = 0  # bytes
        try:
            while block := stream.read(_BLOCK_CHARACTERS):
                data = reading.clean(block, f"{self.name} after page {self.n_pages}").encode()
                n_fed += len(data)
                self._parser.Parse(data)
                if n_fed - self._parser.CurrentByteIndex > MAX_TAG_BYTES:
                    raise self._no_export(f"a tag of more than {MAX_TAG_BYTES:,} bytes")
                while self._finished:
                    yield self._finished.popleft()
            self._parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise DataError(
                f"{self.name} breaks off or is not well-formed after page {self.n_pages} "
                f"({error}); download or export it again."
            ) from error

    def _no_export(self, what: str) -> DataError:
        return DataError(
            f"{self.name} has {what} after page {self.n_pages}, as no export of MediaWiki has; "
            "export it again, or set corpus.format."
        )

    def _refuse_doctype(self, doctype: str, *_: object) -> None:
        raise self._no_export(f"a document type ({doctype[:40]!r})")

    def _declare(self, *_: object) -> None:
        self._n_declared += 1

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition("}")[2]
        self._path.append(name)
        if len(self._path) > MAX_XML_DEPTH:
            raise self._no_export(f"elements more than {MAX_XML_DEPTH} deep")
        if len(self._parser.intern) + self._n_declared > MAX_XML_NAMES:
            raise self._no_export(f"more than {MAX_XML_NAMES:,} names of elements and attributes")
        if self._page is None:
            self._key = attributes.get("key", "") if name == "namespace" else ""
            if name == "page":
                self._page, self._page_depth = _Page(), len(self._path)
        elif self._inner in PAGE_FIELDS:
            self._page.start(name)
        elif self._inner == ("redirect",):
            self._page.is_redirect = True

    def _end(self, _: str) -> None:
        if self._page is not None and len(self._path) == self._page_depth:
            self._finished.append(self._page)
            self._page = None
            self.n_pages += 1
        if self._key in NAMESPACE_KINDS and self._n_namespaces < MAX_NAMESPACES:
            self.namespaces = self.namespaces.with_name(NAMESPACE_KINDS[self._key], self._namespace)
            self._n_namespaces += 1
        self._path.pop()
        self._key = self._namespace = ""

    def _characters(self, text: str) -> None:
        if self._page is None:
            if self._key and len(self._namespace) < MAX_FIELD_BYTES:
                self._namespace += text
        elif (inner := self._inner) in PAGE_FIELDS:
            self._page.add(inner[-1], text, PAGE_FIELDS[inner])

    @property
    def _inner(self) -> tuple[str, ...]:
        return tuple(self._path[self._page_depth :])


def _why_no_article(page: _Page) -> str | None:
    title, text = page.get("title"), page.get("text")
    if page.oversized:
        return "oversized_page"
    namespace = page.get("ns").strip() or "0"
    if namespace != "0":
        return "talk_page" if namespace[-1] in "13579" else "other_namespace"
    if page.is_redirect or _REDIRECT.match(text):
        return "redirect"
    if _LIST_TITLE.match(title):
        return "list_page"
    if title.endswith("(disambiguation)") or _DISAMBIGUATION.search(text):
        return "disambiguation_page"
    return None


def _strip(page: _Page, namespaces: Namespaces, place: str, reading: Reading) -> str:
    stripped = strip(page.get("text"), namespaces)
    for kind, n in stripped.dropped.items():
        if kind in STRIPPED:
            reading.stripped[kind] += n
        elif n:
            reading.note(f"{kind}_markup", place, n)
    return stripped.text
