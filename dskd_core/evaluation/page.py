"""Sections of text, tables and pictures, as Markdown and as one HTML page that needs no network."""

import base64
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, StrictUndefined


@dataclass(frozen=True)
class Cell:
    """What stands in one field of a table."""

    text: str
    is_bold: bool = False


@dataclass(frozen=True)
class Table:
    """A table: the first column names, the others are figures."""

    headers: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs, and perhaps a table or a picture (a file beside the page)."""

    title: str
    paragraphs: tuple[str, ...] = ()
    table: Table | None = None
    picture: str | None = None


@dataclass(frozen=True)
class Page:
    """A title and its sections."""

    title: str
    sections: tuple[Section, ...] = field(default=())


_MARKDOWN = """\
# {{ page.title }}

{% for section in page.sections %}
{% if section.title %}
## {{ section.title }}

{% endif %}
{% for paragraph in section.paragraphs %}
{{ paragraph }}

{% endfor %}
{% if section.table %}
| {{ section.table.headers | map("pipes") | join(" | ") }} |
|{% for _ in section.table.headers %}{{ "---" if loop.first else "---:" }}|{% endfor %}

{% for row in section.table.rows %}
|{% for c in row %} {{ "**" if c.is_bold }}{{ c.text | pipes }}{{ "**" if c.is_bold }} |{% endfor %}

{% endfor %}

{% if section.table.caption %}
{{ section.table.caption }}

{% endif %}
{% endif %}
{% if section.picture %}
![{{ section.title }}]({{ section.picture }})

{% endif %}
{% endfor %}
"""

_STYLE = """
:root { color-scheme: light }
body { max-width: 62rem; margin: 3rem auto; padding: 0 1.5rem; color: #1a1a1a; background: #fff;
       font: 17px/1.55 "Libertinus Serif", "Linux Libertine", Palatino, Georgia, serif }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 1.2rem }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem }
p { margin: .5rem 0; max-width: 46rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; margin: 1rem 0 .4rem; font-size: .92rem;
        font-variant-numeric: tabular-nums lining-nums;
        border-top: 2px solid #1a1a1a; border-bottom: 2px solid #1a1a1a }
th, td { padding: .28rem .7rem; text-align: right; vertical-align: bottom }
td { white-space: nowrap }
th:first-child, td:first-child { text-align: left; padding-left: .2rem }
thead th { border-bottom: 1px solid #1a1a1a; font-weight: 600 }
caption { caption-side: bottom; text-align: left; font-size: .86rem; color: #555;
          padding-top: .4rem }
img { max-width: 100%; margin: .6rem 0 }
code { font: .88em ui-monospace, "DejaVu Sans Mono", monospace }
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
<h1>{{ page.title }}</h1>
{% for section in page.sections %}
<section>
{% if section.title %}
<h2>{{ section.title }}</h2>
{% endif %}
{% for paragraph in section.paragraphs %}
<p>{{ paragraph }}</p>
{% endfor %}
{% if section.table %}
<div class="wide"><table>
{% if section.table.caption %}
<caption>{{ section.table.caption }}</caption>
{% endif %}
<thead><tr>{% for h in section.table.headers %}<th>{{ h }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in section.table.rows %}
<tr>{% for c in row %}<td>{% if c.is_bold %}<b>{{ c.text }}</b>{% else %}{{ c.text }}{% endif %}\
</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table></div>
{% endif %}
{% if section.picture %}
<img alt="{{ section.title }}" src="data:image/png;base64,{{ pictures[section.picture] }}">
{% endif %}
</section>
{% endfor %}
</body>
</html>
"""


def to_markdown(page: Page) -> str:
    """Return a page as Markdown; pictures are links to files beside it."""
    environment = _environment(escapes=False)
    environment.filters["pipes"] = lambda text: text.replace("|", "\\|")
    return environment.from_string(_MARKDOWN).render(page=page)


def to_html(page: Page, folder: Path) -> str:
    """Return a page as HTML with its style and its pictures, read from ``folder``, inside."""
    pictures = {
        section.picture: base64.b64encode((folder / section.picture).read_bytes()).decode()
        for section in page.sections
        if section.picture
    }
    template = _environment(escapes=True).from_string(_HTML)
    return template.render(page=page, style=_STYLE, pictures=pictures)


def _environment(*, escapes: bool) -> Environment:
    return Environment(
        autoescape=escapes,  # HTML is escaped, Markdown is not
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
