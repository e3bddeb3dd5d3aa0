"""Markdown in which foreign text stays text: it makes no heading, link, picture or HTML."""

import re
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(
    r"(?P<interval>\[[−+\d., ]+\](?=\s|$))|[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])"
)
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_AUTOLINK = re.compile(r"(:)(?=//)|(?<=www)(\.)", re.IGNORECASE)
_LINE_START = re.compile(r"^( ?\d*)([#+=.)-])(?=[\s#+=-]|$)")


class Markdown(str):
    """Text that is Markdown already: :func:`escape` leaves it as it is."""

    __slots__ = ()


def escape(text: object) -> Markdown:
    r"""Return any text as Markdown, on one line, that shows it as it is.

    >>> print(escape("# x\n![](http://127.0.0.1:9/a.png) <b>"))
    \# x !\[\](http\://127.0.0.1:9/a.png) &lt;b&gt;
    >>> escape(escape("_b")), escape("a_b [+0.5, +1.5]")
    ('\\_b', 'a_b [+0.5, +1.5]')
    """
    if isinstance(text, Markdown):
        return text
    line = re.sub(r"\s+", " ", str(text))
    line = _SPECIAL.sub(lambda found: found["interval"] or "\\" + found[0], line)
    line = re.sub(r"[&<>]", lambda found: _ENTITIES[found[0]], line)
    line = _AUTOLINK.sub(lambda found: "\\" + found[0], line)
    return Markdown(_LINE_START.sub(r"\1\\\2", line))


def code(text: object) -> Markdown:
    r"""Return any text as code, on one line, in a table too.

    >>> code("a"), code("a`b"), code("a|b"), code("")
    ('`a`', '`` a`b ``', 'a\\|b', '')
    """
    line = re.sub(r"\s+", " ", str(text)).strip(" ")
    if "|" in line:  # a table's cell ends there even in code, and an escape shows outside a table
        return escape(line)
    longest = max((len(run) for run in re.findall(r"`+", line)), default=0)
    fence = "`" * (longest + 1)
    space = " " if longest else ""
    return Markdown(f"{fence}{space}{line}{space}{fence}" if line else "")


def emphasize(text: object, stars: str = "**") -> Markdown:
    r"""Return a text between stars, its outer spaces outside them; an empty one without stars.

    >>> emphasize(" so "), emphasize("a*b", "*"), emphasize("")
    (' **so** ', '*a\\*b*', '')
    """
    line = escape(text)
    inner = line.strip(" ")
    return Markdown(line.replace(inner, f"{stars}{inner}{stars}", 1) if inner else line)


def heading(title: object, level: int = 2) -> Markdown:
    """Return a heading.

    >>> heading("a # b", 3)
    '### a # b'
    """
    return Markdown(f"{'#' * level} {escape(title)}")


def image(title: object, name: str) -> Markdown:
    """Return a picture of a file beside the page."""
    return Markdown(f"![{escape(title)}]({name})")


def table(
    headers: Sequence[object], rows: Iterable[Iterable[object]], *, is_words: bool = False
) -> Markdown:
    r"""Return a table: the first column to the left, the others to the right unless they are words.

    >>> print(table(("arm", "a|b"), [("kd", None)]))
    | arm | a\|b |
    |---|---:|
    | kd |  |
    """
    rule = "|".join(["---", *["---" if is_words else "---:"] * (len(headers) - 1)])
    return Markdown("\n".join([_line(headers), f"|{rule}|", *map(_line, rows)]))


def join(blocks: Iterable[object]) -> str:
    """Return a page of blocks, an empty line between them; empty ones are left out."""
    return "\n\n".join(text for block in blocks if (text := escape(block))) + "\n"


def _line(cells: Iterable[object]) -> str:
    return f"| {' | '.join('' if cell is None else escape(cell) for cell in cells)} |"
