"""The first pass over wiki markup: what no other markup reaches into.

Comments, references, formulas and the like go, up to their own end tag. ``<nowiki>`` and ``<pre>``
lose their tags only, and what they hold is protected, as is what character references stand for:
``&lt;br&gt;`` is text about a tag and no tag.
"""

import html
import re
from collections import Counter
from html.entities import html5

GONE = "\ufdd0"
"""Stands where something was dropped, until spaces and brackets around it are mended."""

TAG_END = r"(?![\w-])(?:(?:=\s*\"[^\"<]*\"|[^<>])*+>|[^<>]*>)"
"""The rest of a tag after its name. A ``>`` in quotes is part of it, a ``<`` never is: a tag that
does not end costs no more than the way to the next one."""

_KINDS = {
    "comment": "!--",
    "reference": "ref|references",
    "formula": "math|chem|ce",
    "code": "syntaxhighlight|source",
    "file": "gallery|imagemap",
    "extension": (
        "timeline|score|graph|hiero|inputbox|categorytree|templatedata|section|mapframe|maplink|"
        "indicator|style|templatestyles|script|includeonly"
    ),
    "literal": "nowiki|pre",
}
_KIND_OF = {tag: kind for kind, tags in _KINDS.items() for tag in tags.split("|")}
_TAG = re.compile(
    rf"<!--|-->|</?({'|'.join(t for t in _KIND_OF if t != '!--')}){TAG_END}", re.IGNORECASE
)
_END = re.compile(r"</\w+\s*>")
_REFERENCE = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|([A-Za-z][A-Za-z0-9]{1,31}));")
_NO_CHARACTER = re.compile("[\ufdd0-\ufdef]")
_MARKS = "[]{}|<>'=*#:;!_-&"
_PROTECT = {ord(mark): 0xFDD8 + i for i, mark in enumerate(_MARKS)}
_RESTORE = {0xFDD8 + i: mark for i, mark in enumerate(_MARKS)}


def protected(text: str) -> str:
    """Return ``text`` with its marks replaced by noncharacters, which no pass takes for markup."""
    return text.translate(_PROTECT)


def restored(text: str) -> str:
    """Undo ``protected``."""
    return text.translate(_RESTORE)


def cut_tags(wikitext: str, dropped: Counter[str]) -> str:
    """Cut away elements that are no prose, and protect text that is no markup.

    An element ends at the next end tag of its kind. If another start comes first, it never
    closes: its tag goes and its text stays. The time is linear in the text's length.

    Args:
        wikitext: a page.
        dropped: counts what is dropped, by kind; ``unclosed`` for tags without their other half.

    Returns:
        The text, without noncharacters but those of this module, character references decoded.
    """
    text = _NO_CHARACTER.sub("\ufffd", wikitext)
    tags = list(_TAG.finditer(text))
    ends = _ends([tag[0] for tag in tags], [_name(tag) for tag in tags])
    pieces: list[str] = []
    position = index = 0
    while index < len(tags):
        tag, end = tags[index], ends[index]
        pieces.append(_decoded(text[position : tag.start()]))
        kind, position = _KIND_OF[_name(tag)], tag.end()
        if end is not None and kind == "literal":
            pieces.append(protected(_decoded(text[tag.end() : tags[end].start()])))
        elif (end is not None or _closes_itself(tag[0])) and kind != "literal":
            pieces.append("" if kind == "comment" else GONE)
            dropped[kind] += 1
        elif not _closes_itself(tag[0]):
            dropped["unclosed"] += 1
        if end is not None:
            index, position = end, tags[end].end()
        index += 1
    pieces.append(_decoded(text[position:]))
    return "".join(pieces)


def _name(tag: re.Match[str]) -> str:
    return (tag[1] or "!--").lower()


def _closes_itself(tag: str) -> bool:
    return tag[:-1].rstrip().endswith("/") and tag[1] != "/"


def _ends(tags: list[str], names: list[str]) -> list[int | None]:
    """Return the index of each start tag's end tag, None for every other tag."""
    ends: list[int | None] = [None] * len(tags)
    nearest: dict[str, int | None] = {}  # the next tag of a kind, if that is an end tag
    for index in range(len(tags) - 1, -1, -1):
        tag, name = tags[index], names[index]
        if tag == "-->" or _END.fullmatch(tag):
            nearest[name] = index
        elif tag[1] == "/":
            continue  # with attributes it ends nothing
        elif not _closes_itself(tag):
            ends[index] = nearest.get(name)
            nearest[name] = None
    return ends


def _decoded(text: str) -> str:
    return _REFERENCE.sub(_character, text) if "&" in text else text


def _character(reference: re.Match[str]) -> str:
    if reference[1]:
        return protected(html5.get(f"{reference[1]};", reference[0]))
    return protected(html.unescape(reference[0]))
