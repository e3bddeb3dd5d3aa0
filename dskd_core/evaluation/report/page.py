"""Sections of text, tables and pictures, as Markdown and as one HTML page that needs no network.

All text on a page is foreign: Jinja2 escapes it in HTML (``templates/``) and ``markdown.py`` in
Markdown.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from dskd_core import markdown
from dskd_core.html import templates_of
from dskd_core.markdown import Markdown, emphasize, escape

Mark = Literal["", "better", "worse"]
_STARS = {"better": "**", "worse": "*"}


@dataclass(frozen=True)
class Cell:
    """One field of a table."""

    text: str
    is_bold: bool = False


@dataclass(frozen=True)
class Table:
    """A table: the first column has names, the others figures, or words that may wrap."""

    headers: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    is_words: bool = False


@dataclass(frozen=True)
class Picture:
    """A file beside the page, and what it shows."""

    name: str
    caption: str = ""


@dataclass(frozen=True)
class Excerpt:
    """A run of text with some of it marked: (text, mark) one after the other."""

    title: str
    spans: tuple[tuple[str, Mark], ...]
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs, then perhaps a picture, a table and excerpts.

    ``level`` is 3 where it belongs to the section before it.
    """

    title: str
    paragraphs: tuple[str, ...] = ()
    table: Table | None = None
    picture: Picture | None = None
    excerpts: tuple[Excerpt, ...] = ()
    level: int = 2


@dataclass(frozen=True)
class Page:
    """A title, a line under it, and sections."""

    title: str
    sections: tuple[Section, ...] = ()
    subtitle: str = ""


def to_html(page: Page, folder: Path) -> str:
    """Return a page as HTML with its style and its pictures, read from ``folder``, inside."""
    names = {section.picture.name for section in page.sections if section.picture}
    pictures = {name: base64.b64encode((folder / name).read_bytes()).decode() for name in names}
    templates = templates_of("dskd_core.evaluation.report")
    return templates.get_template("page.html.j2").render(page=page, pictures=pictures)


def to_markdown(page: Page) -> str:
    """Return a page as Markdown; pictures are links to files beside it."""
    sections = (block for section in page.sections for block in _section_blocks(section))
    return markdown.join([markdown.heading(page.title, 1), page.subtitle, *sections])


def _section_blocks(section: Section) -> Iterator[str]:
    """Yield the blocks of Markdown of a section."""
    if section.title:
        yield markdown.heading(section.title, section.level)
    yield from section.paragraphs
    if section.picture:
        yield markdown.image(section.title, section.picture.name)
        yield section.picture.caption
    if section.table:
        yield _table_as_markdown(section.table)
        yield section.table.caption
    for number, excerpt in enumerate(section.excerpts, 1):
        yield Markdown(f"{number}. {escape(excerpt.title)}")
        yield Markdown(f"   > {_spans_as_markdown(excerpt.spans)}")
        yield Markdown(f"   {escape(excerpt.note)}" if excerpt.note else "")


def _table_as_markdown(table: Table) -> Markdown:
    rows = ([emphasize(c.text) if c.is_bold else c.text for c in row] for row in table.rows)
    return markdown.table(table.headers, rows, is_words=table.is_words)


def _spans_as_markdown(spans: tuple[tuple[str, Mark], ...]) -> str:
    """Write marked text as Markdown: **better** and *worse*."""
    runs = (
        (mark, "".join(text for text, _ in run)) for mark, run in groupby(spans, lambda s: s[1])
    )
    return "".join(emphasize(text, _STARS[mark]) if mark else escape(text) for mark, text in runs)
