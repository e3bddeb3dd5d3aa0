"""Sections of text, tables and pictures, as Markdown and as one HTML page that needs no network."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from jinja2 import Environment, StrictUndefined

Mark = Literal["", "better", "worse"]


@dataclass(frozen=True)
class Cell:
    """What stands in one field of a table."""

    text: str
    is_bold: bool = False


@dataclass(frozen=True)
class Table:
    """A table: the first column names, the others are figures, or words that may wrap."""

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
class Passage:
    """A piece of text with some of it marked: (text, mark) one after the other."""

    title: str
    spans: tuple[tuple[str, Mark], ...]
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs, then perhaps a picture, a table and passages.

    ``level`` is 3 where it belongs to the section before it.
    """

    title: str
    paragraphs: tuple[str, ...] = ()
    table: Table | None = None
    picture: Picture | None = None
    passages: tuple[Passage, ...] = ()
    level: int = 2


@dataclass(frozen=True)
class Page:
    """A title, a line under it, and sections."""

    title: str
    sections: tuple[Section, ...] = field(default=())
    subtitle: str = ""


_MARKDOWN = """\
# {{ page.title }}

{% if page.subtitle %}
{{ page.subtitle }}

{% endif %}
{% for section in page.sections %}
{% if section.title %}
{{ "#" * section.level }} {{ section.title }}

{% endif %}
{% for paragraph in section.paragraphs %}
{{ paragraph }}

{% endfor %}
{% if section.picture %}
![{{ section.title }}]({{ section.picture.name }})

{% if section.picture.caption %}
{{ section.picture.caption }}

{% endif %}
{% endif %}
{% if section.table %}
| {{ section.table.headers | map("cell") | join(" | ") }} |
|{% for _ in section.table.headers %}\
{{ "---" if loop.first or section.table.is_words else "---:" }}|{% endfor %}

{% for row in section.table.rows %}
|{% for c in row %} {{ "**" if c.is_bold }}{{ c.text | cell }}{{ "**" if c.is_bold }} |{% endfor %}

{% endfor %}

{% if section.table.caption %}
{{ section.table.caption }}

{% endif %}
{% endif %}
{% for passage in section.passages %}
{{ loop.index }}. {{ passage.title }}

   > {{ passage.spans | marked }}

{% if passage.note %}
   {{ passage.note }}

{% endif %}
{% endfor %}
{% endfor %}
"""

_STYLE = """
:root { color-scheme: light }
* { box-sizing: border-box }
body { max-width: 60rem; margin: 0 auto; padding: 3.2rem 2rem 4rem; color: #1b1b1b;
       background: #fff; font: 17px/1.55 "Libertinus Serif", "Linux Libertine", "Palatino Linotype",
       Palatino, "TeX Gyre Pagella", "DejaVu Serif", Georgia, serif }
header { border-bottom: 1px solid #c9c9c9; padding-bottom: 1rem; margin-bottom: 1.6rem }
h1 { font-size: 1.62rem; line-height: 1.22; font-weight: 600; margin: 0 0 .5rem;
     letter-spacing: -.005em }
header p { color: #555; font-size: .95rem; margin: 0 }
h2 { font-size: 1.28rem; font-weight: 600; margin: 2.9rem 0 .7rem }
h3 { font-size: 1.06rem; font-weight: 600; margin: 2rem 0 .5rem }
p { margin: .55rem 0; max-width: 46rem; hyphens: auto }
.wide { overflow-x: auto; margin: 1rem 0 1.2rem }
table { border-collapse: collapse; font-size: .88rem; line-height: 1.4;
        font-variant-numeric: tabular-nums lining-nums;
        border-top: 1.6px solid #1b1b1b; border-bottom: 1.6px solid #1b1b1b }
th, td { padding: .26rem .62rem; text-align: right; vertical-align: bottom }
td { white-space: nowrap; vertical-align: top }
th:first-child, td:first-child { text-align: left; padding-left: .1rem }
th:last-child, td:last-child { padding-right: .1rem }
thead th { border-bottom: .9px solid #1b1b1b; font-weight: 600 }
tbody tr:first-child td { padding-top: .42rem }
tbody tr:last-child td { padding-bottom: .42rem }
.words th, .words td { text-align: left; white-space: normal }
.words td { border-bottom: .5px solid #e2e2e2 }
.words td:nth-child(2) { min-width: 24rem }
caption, figcaption { text-align: left; font-size: .86rem; line-height: 1.45; color: #444;
                      max-width: 46rem }
caption { caption-side: top; padding-bottom: .5rem }
caption b, figcaption b { color: #1b1b1b }
figure { margin: 1.1rem 0 1.2rem }
figure img { display: block; max-width: 100%; height: auto }
figcaption { padding-top: .5rem }
ol { margin: .8rem 0; padding-left: 1.6rem }
li { margin: 0 0 1rem; break-inside: avoid }
li .head { font-size: .88rem; color: #444 }
blockquote { margin: .3rem 0; padding: .1rem 0 .1rem .9rem; border-left: 2px solid #d5d5d5;
             max-width: 48rem; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .93rem }
li .note { font-size: .84rem; color: #555 }
mark { padding: 0 .08em; border-radius: 2px; color: inherit }
mark.better { background: #cfe8d5 }
mark.worse { background: #f7d3cc }
code { font: .86em ui-monospace, "DejaVu Sans Mono", monospace }
@page { margin: 18mm 16mm }
@media print {
  body { font-size: 10pt; max-width: none; padding: 0 }
  h2, h3 { break-after: avoid }
  figure, .wide, tr { break-inside: avoid }
  .wide { overflow: visible }
  mark { -webkit-print-color-adjust: exact; print-color-adjust: exact }
}
"""

_HTML = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ page.title }}</title>
<style>{{ style | safe }}</style>
</head>
<body>
<header>
<h1>{{ page.title }}</h1>
{% if page.subtitle %}
<p>{{ page.subtitle }}</p>
{% endif %}
</header>
{% for section, n_table, n_picture in numbered %}
<section>
{% if section.title %}
<h{{ section.level }}>{{ section.title }}</h{{ section.level }}>
{% endif %}
{% for paragraph in section.paragraphs %}
<p>{{ paragraph }}</p>
{% endfor %}
{% if section.picture %}
<figure>
<img alt="{{ section.title }}" src="data:image/png;base64,{{ pictures[section.picture.name] }}">
<figcaption><b>Figure {{ n_picture }}.</b> {{ section.picture.caption }}</figcaption>
</figure>
{% endif %}
{% if section.table %}
<div class="wide"><table{{ ' class="words"' | safe if section.table.is_words }}>
<caption><b>Table {{ n_table }}.</b> {{ section.table.caption }}</caption>
<thead><tr>{% for h in section.table.headers %}<th>{{ h }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in section.table.rows %}
<tr>{% for c in row %}<td>{% if c.is_bold %}<b>{{ c.text }}</b>{% else %}{{ c.text }}{% endif %}\
</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table></div>
{% endif %}
{% if section.passages %}
<ol>
{% for passage in section.passages %}
<li><span class="head">{{ passage.title }}</span>
<blockquote>{% for text, mark in passage.spans %}{% if mark %}<mark class="{{ mark }}">{{ text }}\
</mark>{% else %}{{ text }}{% endif %}{% endfor %}</blockquote>
{% if passage.note %}
<span class="note">{{ passage.note }}</span>
{% endif %}
</li>
{% endfor %}
</ol>
{% endif %}
</section>
{% endfor %}
</body>
</html>
"""


def to_markdown(page: Page) -> str:
    """Return a page as Markdown; pictures are links to files beside it."""
    environment = _environment(escapes=False)
    environment.filters["cell"] = _in_a_cell
    environment.filters["marked"] = _marked
    return environment.from_string(_MARKDOWN).render(page=page)


def to_html(page: Page, folder: Path) -> str:
    """Return a page as HTML with its style and its pictures, read from ``folder``, inside."""
    pictures = {
        section.picture.name: base64.b64encode(
            (folder / section.picture.name).read_bytes()
        ).decode()
        for section in page.sections
        if section.picture
    }
    template = _environment(escapes=True).from_string(_HTML)
    return template.render(
        page=page, numbered=list(_numbered(page)), style=_STYLE, pictures=pictures
    )


def _numbered(page: Page) -> Iterator[tuple[Section, int, int]]:
    """Yield each section with the numbers of its table and its picture."""
    n_tables = n_pictures = 0
    for section in page.sections:
        n_tables += section.table is not None
        n_pictures += section.picture is not None
        yield section, n_tables, n_pictures


def _in_a_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _marked(spans: tuple[tuple[str, Mark], ...]) -> str:
    """Write marked text as Markdown: **better** and *worse*, spaces outside the stars."""
    parts = []
    for text, mark in spans:
        plain = text.replace("\n", " ").replace("*", "\\*")
        inner, stars = plain.strip(), {"": "", "better": "**", "worse": "*"}[mark]
        parts.append(plain.replace(inner, f"{stars}{inner}{stars}", 1) if inner else plain)
    return "".join(parts)


def _environment(*, escapes: bool) -> Environment:
    return Environment(
        autoescape=escapes,  # HTML is escaped, Markdown is not
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
