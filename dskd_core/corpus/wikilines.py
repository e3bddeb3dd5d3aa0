"""The last pass over wiki markup: from text with marks in it to lines of prose."""

import re
from collections.abc import Iterator

from dskd_core.corpus.wikitags import GONE, restored

UNCLOSED = "\ufdd1"
"""Stands where a template or table began that never closes."""
ROW = "\ufdd2"
"""Stands before a line that is an argument or a row, if what it lies in ever closes."""
CUT = "\ufdd3"
"""What follows it on its line goes: the options of an image that never closes, and the like."""

_TEXT = 99
_SPACES = re.compile(r"[ \t\xa0]+")
_GAP = re.compile(rf" ?{GONE}[ {GONE}]*")
_INVISIBLE = re.compile("[\u200b\u200e\u200f\ufeff]|__(?=[^\\W\\da-z_])[^\\W\\da-z]{1,60}?__")
_MARKS = re.compile(f" ?(?:[{UNCLOSED}{ROW}] ?)+")
_BRACKETS = re.compile(
    rf"\((?:or|[ ,;:–\-{GONE}])*\)|\([ ,;:{GONE}]+|(?<![ ,;:{GONE}])[ ,;:{GONE}]+\)"
)
_BEFORE_STOP = re.compile(rf"[ {GONE}]{{1,2}}(?=[,.;:!?](?:[\s{GONE}]|$))")


def prose_of(text: str) -> str:
    """Return the lines of a page that hold text, and the headings that have some below them."""
    text = _SPACES.sub(" ", _INVISIBLE.sub("", text))
    text = _BRACKETS.sub(_emptied, _GAP.sub(_mended, text))
    text = _SPACES.sub(" ", _BEFORE_STOP.sub("", text).replace(GONE, ""))
    lines = text.split("\n")
    return restored("\n".join(_with_full_headings(list(_levels(lines)))))


def _emptied(brackets: re.Match[str]) -> str:
    """Take spaces off a bracket's inside, and commas where something was dropped beside them."""
    inside = brackets[0]
    if GONE not in inside:
        return "".join(inside.split(" ")) if not inside.strip("( )") else inside
    return "" if inside[0] + inside[-1] == "()" else inside.strip(f" ,;:{GONE}")


def _mended(gap: re.Match[str]) -> str:
    """Leave one mark of a run of dropped things, and one space before it if there was any."""
    return f" {GONE}" if " " in gap[0] else GONE


def _levels(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Yield each line that holds text, with the level of a heading or ``_TEXT``."""
    is_broken = False  # below the start of a template or table that never closes
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        text = line.strip()
        if text.startswith("=") and text.endswith("=") and len(text) > 2:
            is_broken = False
            yield _heading(text)
            continue
        if text.startswith(ROW):
            if is_broken:
                continue
            text = text.removeprefix(ROW)
        if UNCLOSED in text:
            is_broken = True
            if following.lstrip().startswith(ROW):  # its first line is a name and no prose
                text = text.partition(UNCLOSED)[0]
        text = _MARKS.sub(" ", text.partition(CUT)[0])
        text = text.removeprefix("----").lstrip("*#:; ").strip()
        if text:
            yield _TEXT, text


def _heading(line: str) -> tuple[int, str]:
    left, right = len(line) - len(line.lstrip("=")), len(line) - len(line.rstrip("="))
    level = min(left, right, 6, (len(line) - 1) // 2)
    return level, line[level:-level].strip()


def _with_full_headings(lines: list[tuple[int, str]]) -> list[str]:
    """Drop headings with nothing below them, from the last line up."""
    kept: list[str] = []
    level_below = 0  # of the last kept line, 0 for the end
    for level, line in reversed(lines):
        if level == _TEXT or (level_below > level and line):
            kept.append(line)
            level_below = level
    return kept[::-1]
