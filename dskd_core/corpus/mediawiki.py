"""Articles of a MediaWiki XML export, streamed: one page is in memory at a time."""

import re
from collections.abc import Iterator
from typing import Any, TextIO
from xml.etree import ElementTree

from dskd_core.corpus.documents import Document, Reading, Wanted
from dskd_core.corpus.wikitext import MarkupError, plain_text, strip_by_pattern
from dskd_core.errors import DataError

_BLOCK_CHARACTERS = 1 << 20
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

    Args:
        stream: the XML, decompressed, decoded with ``surrogateescape``.
        name: the file's name, for messages.
        reading: where skipped and repaired pages are counted.
        wanted: pages whose id it refuses are not stripped.

    Raises:
        DataError: if the XML breaks off or is not well-formed.
    """
    for page in _pages(stream, name, reading):
        page_id, title = page.findtext("{*}id", ""), page.findtext("{*}title", "")
        wikitext = page.findall("{*}revision/{*}text")
        text = (wikitext[-1].text or "") if wikitext else ""
        code = _why_no_article(page, title, text)
        if code:
            reading.note(code, f"{page_id} {title}")
        elif wanted(page_id):
            yield Document(page_id, title, _strip(text, f"{page_id} {title}", reading))


def _pages(stream: TextIO, name: str, reading: Reading) -> Iterator[ElementTree.Element]:
    parser: Any = ElementTree.XMLPullParser(events=("start", "end"))
    root: ElementTree.Element | None = None
    n_pages = 0
    try:
        while block := stream.read(_BLOCK_CHARACTERS):
            parser.feed(reading.clean(block, f"{name} after page {n_pages}"))
            for event, element in parser.read_events():
                root = element if root is None else root
                if event == "end" and element.tag.rpartition("}")[2] == "page":
                    n_pages += 1
                    yield element
                    root.clear()
        parser.close()
    except ElementTree.ParseError as error:
        raise DataError(
            f"{name} breaks off or is not well-formed after page {n_pages} ({error}); "
            "download or export it again."
        ) from error


def _why_no_article(page: ElementTree.Element, title: str, text: str) -> str | None:
    namespace = int(page.findtext("{*}ns", "0"))
    if namespace != 0:
        return "talk_page" if namespace % 2 else "other_namespace"
    if page.find("{*}redirect") is not None or _REDIRECT.match(text):
        return "redirect"
    if _LIST_TITLE.match(title):
        return "list_page"
    if title.endswith("(disambiguation)") or _DISAMBIGUATION.search(text):
        return "disambiguation_page"
    return None


def _strip(text: str, place: str, reading: Reading) -> str:
    try:
        return plain_text(text)
    except MarkupError:
        reading.note("unparsed_markup", place)
        return strip_by_pattern(text)
