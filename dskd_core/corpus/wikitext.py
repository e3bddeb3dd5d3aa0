"""Plain text of wiki markup: what a reader of the rendered article would read as prose.

Templates, tables, references, images, categories, galleries and formulas go; headings stay as
lines of their own unless nothing is left below them; list items stay as lines.
"""

import html
import re
from typing import Any

import mwparserfromhell
from mwparserfromhell.nodes import (
    ExternalLink,
    Heading,
    HTMLEntity,
    Tag,
    Template,
    Text,
    Wikilink,
)
from mwparserfromhell.parser import ParserError

MAX_UNBALANCED = 100
"""The parser's time explodes with brackets that never close; a page with more is not parsed."""

_OPAQUE_TAGS = (
    "ref|references|gallery|math|chem|ce|timeline|imagemap|score|graph|hiero|inputbox|categorytree|"
    "templatedata|section|syntaxhighlight|source|mapframe|maplink|indicator|style|script"
)
_OPAQUE = re.compile(
    # A tag that closes itself, or up to its end tag, never past another start of its kind.
    rf"<!--(?:(?!<!--).)*?-->|<({_OPAQUE_TAGS})\b(?:[^<>]*/>|[^<>]*>(?:(?!<\1\b).)*?</\1\s*>)",
    re.IGNORECASE | re.DOTALL,
)
_QUOTES = re.compile("'{2,}")
_STRAY_TAG = re.compile(rf"<!--|-->|</?(?:{_OPAQUE_TAGS})\b[^<>]*>", re.IGNORECASE)
_ANY_TAG = re.compile(
    rf"</?(?:{_OPAQUE_TAGS}|nowiki|noinclude|includeonly|onlyinclude|blockquote|br|hr|p|div|span|"
    r"small|big|sub|sup|b|i|u|s|em|strong|center|code|tt|kbd|pre|poem|cite|q|abbr|ul|ol|li|dl|dt|dd|"
    r"table|tr|td|th|caption|font|var|del|ins|dfn|samp|bdi|h[1-6])\b[^<>]*>",
    re.IGNORECASE,
)
_DROPPED_TAGS = frozenset([*_OPAQUE_TAGS.split("|"), "table", "noinclude"])
_BLOCK_TAGS = frozenset({"p", "div", "blockquote", "poem", "li", "dt", "dd", "br", "hr", "center"})
_MEDIA = re.compile(r"\s*(file|image|media|category)\s*:", re.IGNORECASE)
_INTERWIKI = re.compile(r"\s*[a-z]{2,3}(-[a-z-]+)?\s*:\s*\S")
_HEADING_MARK = "\x01"
_LAST_ARGUMENT = re.compile(
    r"lang(-.*)?|transl|transliteration|nowrap|nobr|small|big|smaller|abbr|tooltip|quote|sic|"
    r"visible anchor|vanchor|em|strong"
)
_LITERAL = {
    "'": "'",
    "ndash": "–",
    "mdash": "—",
    "spaced ndash": " – ",
    "snd": " – ",
    "spnd": " – ",
    "spaced en dash": " – ",
    "dash": " – ",
    "nbsp": " ",
    "=": "=",
    "!": "|",
    "·": " · ",
    "!=": "≠",
}


class MarkupError(ValueError):
    """Markup the parser gives up on."""


def plain_text(wikitext: str) -> str:
    r"""Return the prose of a page.

    >>> plain_text("A '''[[bank (finance)|bank]]'''{{citation needed}} lends.<ref>x</ref>")
    'A bank lends.'
    >>> plain_text("== History ==\n{| class=x\n|a\n|}\n== Use ==\n* It [[float]]s.\n")
    'Use\nIt floats.'

    Raises:
        MarkupError: if the markup is too broken to parse; use ``strip_by_pattern``.
    """
    wikitext = _without_opaque(wikitext)
    for left, right in ("{}", "[]"):
        if abs(wikitext.count(left) - wikitext.count(right)) > MAX_UNBALANCED:
            raise MarkupError(f"unbalanced {left}{right}")
    try:
        code = mwparserfromhell.parse(wikitext)
        return _tidy(_render(code))
    except (ParserError, RecursionError) as error:
        raise MarkupError(str(error)) from error


def strip_by_pattern(wikitext: str) -> str:
    """Return roughly the prose of a page, in linear time, whatever its markup.

    >>> strip_by_pattern("A [[bank (finance)|bank]] {{x|{{y}}}}lends [[.")
    'A bank lends.'
    """
    text = _without_opaque(wikitext)
    for _ in range(4):
        text = re.sub(r"\{\{[^{}]*\}\}|\{\|[^{}]*\|\}", "", text)
    text = re.sub(r"\[\[(?:[^\[\]|]*\|)*([^\[\]|]*)\]\]", r"\1", text)
    return _tidy(text)


def _without_opaque(wikitext: str) -> str:
    """Cut away first what the parser is slow at or loses in broken markup.

    These are comments, references, formulas and the like, and the quotes of bold and italic text.
    """
    return _QUOTES.sub("", _STRAY_TAG.sub("", _OPAQUE.sub("", wikitext)))


def _render(code: Any) -> str:
    return "".join(_render_node(node) for node in code.nodes)


def _render_node(node: Any) -> str:  # noqa: PLR0911 - one line per kind of node
    match node:
        case Text():
            return str(node.value)
        case Wikilink():
            return _render_link(node)
        case ExternalLink():
            return _render(node.title) if node.title is not None else ""
        case Heading():
            return f"\n{_HEADING_MARK}{node.level}{_render(node.title).strip()}\n"
        case HTMLEntity():
            return _render_entity(node)
        case Tag():
            return _render_tag(node)
        case Template():
            return _render_template(node)
        case _:
            return ""


def _render_link(link: Any) -> str:
    title = str(link.title)
    if _MEDIA.match(title):
        return ""
    if link.text is not None:
        return _render(link.text)
    return "" if _INTERWIKI.match(title) else title.strip().removeprefix(":")


def _render_entity(entity: Any) -> str:
    try:
        return str(entity.normalize())
    except (ValueError, OverflowError):
        return ""


def _render_tag(tag: Any) -> str:
    name = str(tag.tag).strip().lower()
    if name in _DROPPED_TAGS:
        return ""
    inner = _render(tag.contents) if tag.contents is not None else ""
    return f"\n{inner}\n" if name in _BLOCK_TAGS and not tag.wiki_markup else inner


def _render_template(template: Any) -> str:
    name = str(template.name).strip().lower().replace("_", " ")
    if name in _LITERAL:
        return _LITERAL[name]
    values = [_render(p.value).strip() for p in template.params if not p.showkey]
    if _LAST_ARGUMENT.fullmatch(name):
        return values[-1] if values else ""
    if name in ("convert", "cvt") and len(values) >= 2:
        return f"{values[0]} {values[1]}"
    return ""


_TIDY = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"[\u200b\u200e\u200f\ufeff]|__[A-Z]+__", ""),
        (r"(?m)^[ \t]*(?:\{\||\|\}|\||!).*$", ""),  # rows of a table that never closes
        (r"(?mi)^[ \t]*\[*(?:file|image):[^|\n]*\|.*$", ""),  # an image that never closes
        (r"\{\{|\}\}|\[\[|\]\]|\{\||\|\}", ""),
        (r"[ \t\xa0]+", " "),
        (r"\((?:or|[\s,;:–-])*\)", ""),  # brackets that held templates only
        (r"\((?: ?[,;:])* ?(?=\S)", "("),
        (r"(?: ?[,;:]){0,8}(?: (?=\))|(?<=[,;:])(?=\)))", ""),
        (r" +(?=[,.;:!?)](?:\s|$))", ""),
        (r" {2,}", " "),
    )
]


def _tidy(text: str) -> str:
    """Remove what broken markup and dropped templates leave behind."""
    text = _ANY_TAG.sub("", html.unescape(text))
    for pattern, replacement in _TIDY:
        text = pattern.sub(replacement, text)
    lines = (line.strip().lstrip("*#:; ") for line in text.split("\n"))
    return "\n".join(_with_full_headings([line for line in lines if line]))


def _with_full_headings(lines: list[str]) -> list[str]:
    """Drop headings with nothing below them, from the last line up, and unmark the others."""
    kept: list[str] = []
    level_below = 0  # of the last kept heading, 99 for text, 0 for the end
    for line in reversed(lines):
        if not line.startswith(_HEADING_MARK):
            kept.append(line)
            level_below = 99
        elif level_below > int(line[1]) and line[2:]:
            kept.append(line[2:])
            level_below = int(line[1])
    return kept[::-1]
