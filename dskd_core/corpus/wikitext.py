"""Plain text of wiki markup: what a reader of the rendered article would read as prose.

Templates, tables, references, images, categories, galleries and formulas go; headings stay as
lines of their own unless nothing is left below them; list items stay as lines.

Every pass goes over the text once, with a stack of what is open. A page of any content costs a
number of steps that is linear in its length.
"""

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal, NamedTuple

from dskd_core.corpus.wikilines import CUT, ROW, UNCLOSED, prose_of
from dskd_core.corpus.wikitags import GONE, TAG_END, cut_tags
from dskd_core.corpus.wikitemplates import LITERAL, shown, shows_values

MAX_DEPTH = 40
"""Templates nested deeper, as deep as MediaWiki expands them, are dropped unread."""
MAX_TITLE_CHARACTERS = 512
"""What is longer is no title of a link and no name of a template; MediaWiki's limit is 255."""

_TAGS = (
    "br|p|div|blockquote|poem|li|dt|dd|hr|center|table|td|th|tr|caption|noinclude|onlyinclude|span|"
    "small|big|sub|sup|b|i|u|s|em|strong|code|tt|kbd|cite|q|abbr|ul|ol|dl|font|var|del|ins|"
    "strike|samp|dfn|bdi|bdo|ruby|rb|rp|rt|rtc|wbr|mark|data|time|thead|tbody|tfoot|h[1-6]"
)
_BLOCK_TAGS = frozenset({"p", "div", "blockquote", "poem", "li", "dt", "dd", "br", "hr", "center"})
_CELL_TAGS = frozenset({"td", "th", "tr", "caption"})
_SCHEMES = "https?:|ftps?:|mailto:|news:|ircs?:|gopher:|//"
_TOKEN = re.compile(
    # Most characters begin none of these: they are passed over by the first look ahead.
    rf"""(?=[{{}}\[\]|!<\s:*\#;hf])(?:
    (?P<line>^[ \t:*\#;]*\{{\|(?!\}}) | ^[ \t]*\|\}}(?!\}}) | ^[ \t]*[|!])
    | (?P<open>\{{{{2,}} | \[\[(?!\[))
    | (?P<close>\}}{{2,}} | \]+)
    | (?P<address>\[(?:{_SCHEMES})[^\s\[\]<>"{{|}}]* | (?<!\w)(?:https?|ftp)://[^\s\[\]<>"{{|}}]*)
    | (?P<bar>\|)
    | (?P<newline>\n)
    | </?(?P<tag>{_TAGS}){TAG_END})""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_QUOTES = re.compile("'{2,}")
_FILE_NAME = re.compile(
    r"\.(?:jpe?g|png|gif|svg|tiff?|webp|xcf|pdf|djvu|og[agv]|webm|midi?|wav|mp[34]|mpe?g|flac|opus|stl)$",
    re.IGNORECASE,
)
_INTERWIKI = re.compile(r"\s*(?:[a-z]{2,3}(?:-[a-z-]+)?|simple)\s*:\s*\S")


def _plain_name(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).casefold()


@dataclass(frozen=True)
class Namespaces:
    """Names of the namespaces whose links are no prose, in small letters.

    A link to what is named like a file is one in any namespace: exports do not list aliases, such
    as the German ``Bild``.
    """

    file: frozenset[str] = frozenset({"file", "image", "media"})
    category: frozenset[str] = frozenset({"category"})

    def with_name(self, kind: Literal["file", "category"], name: str) -> "Namespaces":
        """Return these names and one more, of a wiki in another language."""
        return replace(self, **{kind: getattr(self, kind) | {_plain_name(name)}})

    def kind_of(self, title: str) -> str | None:
        """Say which kind of link a title makes, None for one that is read as text.

        >>> Namespaces(category=frozenset({"kategorie"})).kind_of("Kategorie: Hafen")
        'category'
        """
        name, colon, rest = title.partition(":")
        name = _plain_name(name)
        if not colon or not name:
            return None
        if name in self.category:
            return "category"
        if name in self.file or (":" not in rest and _FILE_NAME.search(rest.rstrip())):
            return "file"
        return None


@dataclass(frozen=True)
class Stripped:
    """A page's prose, what was dropped for it by kind, and the steps that took.

    Kinds are the keys of ``documents.STRIPPED``, and ``unclosed`` and ``deep``.
    """

    text: str
    dropped: Counter[str]
    n_steps: int


def plain_text(wikitext: str, namespaces: Namespaces = Namespaces()) -> str:
    r"""Return the prose of a page.

    >>> plain_text("A '''[[bank (finance)|bank]]'''{{citation needed}} lends.<ref>x</ref>")
    'A bank lends.'
    >>> plain_text("== History ==\n{| class=x\n|a\n|}\n== Use ==\n* It [[float]]s.\n")
    'Use\nIt floats.'
    """
    return strip(wikitext, namespaces).text


def strip(wikitext: str, namespaces: Namespaces = Namespaces()) -> Stripped:
    """Return the prose of a page and what was dropped of it; memory is linear in its length."""
    dropped: Counter[str] = Counter()
    text = _QUOTES.sub(_apostrophes, cut_tags(wikitext, dropped))
    scan = _Scan(text, namespaces, dropped)
    scan.run()
    return Stripped(prose_of("".join(scan.pieces)), dropped, scan.n_steps)


def _apostrophes(quotes: re.Match[str]) -> str:
    """Bold is three, italic two, both five; what is left over is text."""
    n = len(quotes[0])
    return "'" * (1 if n == 4 else max(0, n - 5))


class _Frame(NamedTuple):
    """What is open: its kind, the index of its first piece, and those of its bars."""

    kind: str  # template, argument, link, address, table, html
    start: int
    bars: list[int]


@dataclass
class _Scan:
    """One scan of a page. ``pieces`` joined are its text, with the marks of ``wikilines``."""

    text: str
    namespaces: Namespaces
    dropped: Counter[str]
    pieces: list[str] = field(default_factory=list)
    stack: list[_Frame] = field(default_factory=list)
    n_open: Counter[str] = field(default_factory=Counter)
    n_steps: int = 0

    def run(self) -> None:
        position = 0
        handlers = {name: getattr(self, f"_{name}") for name in _TOKEN.groupindex}
        for token in _TOKEN.finditer(self.text):
            if token.start() > position:
                self.pieces.append(self.text[position : token.start()])
            position = token.end()
            self.n_steps += 1
            handlers[token.lastgroup or ""](token[0])
        self.pieces.append(self.text[position:])
        while self.stack:
            self._abandon()

    @property
    def _top(self) -> str:
        return self.stack[-1].kind if self.stack else ""

    def _push(self, kind: str, shown: str) -> None:
        """Open a frame; ``shown`` is what stands in its start's place if it never closes."""
        self.stack.append(_Frame(kind, len(self.pieces), []))
        self.pieces.append(shown)
        self.n_open[kind] += 1

    def _pop(self) -> _Frame:
        frame = self.stack.pop()
        self.n_open[frame.kind] -= 1
        self.n_steps += 1
        return frame

    def _abandon(self) -> None:
        """Give up the innermost frame: what is in it is text of the next one."""
        frame = self._pop()
        if frame.kind == "address":
            return
        self.dropped["unclosed"] += 1
        if frame.kind == "link" and frame.bars:
            title = self._title(frame.start + 1, frame.bars[0])
            if title is not None and self.namespaces.kind_of(title):
                self.pieces[frame.start] = CUT

    def _pop_to(self, *kinds: str) -> _Frame | None:
        """Close the innermost frame of these kinds and give up those above it."""
        if not any(self.n_open[kind] for kind in kinds):
            self.dropped["unclosed"] += 1
            return None
        while self._top not in kinds:
            self._abandon()
        return self._pop()

    def _title(self, start: int, stop: int) -> str | None:
        """Return the text of some pieces, None if it is too long for a title."""
        n_characters = 0
        for index in range(start, stop):
            n_characters += 1 + len(self.pieces[index])
            self.n_steps += 1
            if n_characters > 2 * MAX_TITLE_CHARACTERS:
                return None
        return "".join(self.pieces[start:stop])

    def _drop(self, frame: _Frame, kind: str) -> None:
        self.n_steps += len(self.pieces) - frame.start
        del self.pieces[frame.start :]
        self.pieces.append(GONE)
        self.dropped[kind] += 1

    def _line(self, token: str) -> None:
        mark = token.strip()
        if mark.endswith("{|"):
            self._push("table", f"{UNCLOSED}{CUT}")
        elif mark == "|}":
            if frame := self._pop_to("table"):
                self._drop(frame, "table")
        elif self._top == "link":
            self._bar(mark)
        elif any(self.n_open[kind] for kind in ("template", "argument", "table")):
            self._bar(ROW + mark)
        else:
            self.pieces.append(token)

    def _bar(self, token: str) -> None:
        if self._top == "address":
            self._abandon()
        if self._top in ("template", "argument", "link") and not token.endswith("!"):
            self.stack[-1].bars.append(len(self.pieces))
        self.pieces.append(token)

    def _newline(self, token: str) -> None:
        while self._top == "address" or (self._top == "link" and not self.stack[-1].bars):
            self._abandon()
        self.pieces.append(token)

    def _address(self, token: str) -> None:
        if token.startswith("["):
            if self._top == "link" and not self.stack[-1].bars:
                self._abandon()
            self._push("address", token)
            return
        self.dropped["address"] += 1
        self.pieces.extend((GONE, token[len(token.rstrip(".,;:!?)")) :]))

    def _open(self, token: str) -> None:
        if token.startswith("["):
            while self._top == "link" and not self.stack[-1].bars:
                self._abandon()
            self._push("link", "")
            return
        for _ in range((len(token) - 3 * (len(token) % 2)) // 2):
            self._push("template", UNCLOSED)
        if len(token) % 2:
            self._push("argument", UNCLOSED)

    def _close(self, token: str) -> None:
        if token.startswith("]"):
            self._close_brackets(len(token))
            return
        n = len(token)
        while n >= 2:
            frame = self._pop_to("template", "argument")
            if frame is None:
                return
            if frame.kind == "template":
                self._close_template(frame)
            else:
                self._drop(frame, "template")
                n -= 1
            n -= 2

    def _close_brackets(self, n: int) -> None:
        while n:
            if self._top == "address":
                self._close_address(self._pop())
                n -= 1
            elif n == 1:
                self.pieces.append("]")
                return
            elif frame := self._pop_to("link"):
                self._close_link(frame)
                n -= 2
            else:
                return

    def _close_address(self, frame: _Frame) -> None:
        """Keep the text after an address, which is the whole of the first piece."""
        self.dropped["address"] += 1
        is_named = len(self.pieces) > frame.start + 1
        self.pieces[frame.start] = "" if is_named else GONE
        if is_named:
            self.pieces[frame.start + 1] = self.pieces[frame.start + 1].lstrip()

    def _close_link(self, frame: _Frame) -> None:
        title_end = frame.bars[0] if frame.bars else len(self.pieces)
        title = self._title(frame.start + 1, title_end)
        if title is None:
            self.dropped["unclosed"] += 1
        elif kind := self.namespaces.kind_of(title):
            self._drop(frame, kind)
        elif frame.bars:
            self.pieces[frame.start : title_end + 1] = [""] * (title_end + 1 - frame.start)
        elif _INTERWIKI.match(title):
            self._drop(frame, "interwiki")
        else:
            del self.pieces[frame.start :]
            self.pieces.append(title.strip().removeprefix(":"))

    def _close_template(self, frame: _Frame) -> None:
        bars = [*frame.bars, len(self.pieces)]
        name = self._title(frame.start + 1, bars[0])
        value = None
        if len(self.stack) >= MAX_DEPTH:
            self.dropped["deep"] += 1
        elif name is not None:
            value = self._value(" ".join(name.lower().replace("_", " ").split()), bars)
        self._drop(frame, "template")
        if value:
            self.dropped["template"] -= 1
            self.pieces[-1] = value

    def _value(self, name: str, bars: list[int]) -> str | None:
        """Return what a template of this name shows, as far as that is known."""
        if name in LITERAL:
            return LITERAL[name]
        if not shows_values(name):
            return None
        self.n_steps += bars[-1] - bars[0]
        values = ["".join(self.pieces[bar + 1 : end]).strip() for bar, end in pairwise(bars)]
        return shown(name, [value for value in values if "=" not in value])

    def _tag(self, token: str) -> None:
        name = token.strip("</>").split()[0].rstrip("/").lower()
        if name == "table" and token[1] != "/":
            self._push("html", "\n")
        elif name == "table":
            if frame := self._pop_to("html"):
                self._drop(frame, "table")
        elif name in _BLOCK_TAGS:
            self.pieces.append("\n")
        elif name in _CELL_TAGS:
            self.pieces.append(" ")
