"""What every source yields: typed rows, and a count of what was left out and why."""

import bisect
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal, Self

import msgspec
import pyarrow as pa

from dskd_core.config import LexiconConfig

Relation = Literal["synonym", "antonym"]
MAX_LINES = 20


class PairRow(msgspec.Struct, frozen=True, gc=False):
    """Two words that a source relates.

    Attributes:
        word_a: the word the source lists the relation under.
        word_b: the related word. Both are NFC with single spaces, case as in the source.
        relation: ``synonym`` or ``antonym``.
        source: who says so, such as ``roget``.
        pos: ``noun``, ``verb``, ``adj``, ``adv``, ... or empty where the source does not say.
        sense: the gloss or the heading the relation stands under, or empty.
        tags: marks of register and the like, sorted.
        licence: the licence of the row.
        weight: trust in the pair, in (0, 1].
    """

    word_a: str
    word_b: str
    relation: Relation
    source: str
    pos: str
    sense: str
    tags: tuple[str, ...]
    licence: str
    weight: float


class DerivationRow(msgspec.Struct, frozen=True, gc=False):
    """A word made from a base by one affix.

    Attributes:
        word: the derived word.
        base: what it is derived from.
        affix: without hyphens, as the source spells it (``un``, ``less``).
        affix_kind: ``prefix`` or ``suffix``.
        affix_sense: ``negative`` or ``locative`` where the source tells two prefixes of one
            spelling apart (MorphoLEX does for in-), else empty.
        pos: part of speech of the derived word, or empty.
        source: who says so.
        licence: the licence of the row.
    """

    word: str
    base: str
    affix: str
    affix_kind: Literal["prefix", "suffix"]
    affix_sense: Literal["", "negative", "locative"]
    pos: str
    source: str
    licence: str


_TEXT = pa.string()
PAIR_SCHEMA = pa.schema(
    [
        *((name, _TEXT) for name in ("word_a", "word_b", "relation", "source", "pos", "sense")),
        ("tags", pa.list_(_TEXT)),
        ("licence", _TEXT),
        ("weight", pa.float32()),
    ]
)
DERIVATION_SCHEMA = pa.schema(
    [(name, _TEXT) for name in DerivationRow.__struct_fields__],
)

SCHEMAS: dict[type[msgspec.Struct], pa.Schema] = {
    PairRow: PAIR_SCHEMA,
    DerivationRow: DERIVATION_SCHEMA,
}


@dataclass
class Report:
    """Rows left out, counted by code; for damaged ones the first line numbers too.

    Attributes:
        counts: rows by code.
        lines: the smallest line numbers of a code, ascending.
        notes: sentences for whoever reads the record.
        n_lines: lines read, blank ones too.
    """

    counts: Counter[str] = field(default_factory=Counter)
    lines: dict[str, list[int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    n_lines: int = 0

    def count(self, code: str, line: int | None = None) -> None:
        """Count one row under ``code`` and remember its line, if it is among the first."""
        self.counts[code] += 1
        if line is not None:
            known = self.lines.setdefault(code, [])
            if len(known) < MAX_LINES or line < known[-1]:
                bisect.insort(known, line)
                del known[MAX_LINES:]

    def count_rows(self, code: str, lines: list[int]) -> None:
        """Count the rows of these lines, ascending, under ``code``."""
        if lines:
            self.counts[code] += len(lines)
            known = self.lines.setdefault(code, [])
            known[:] = sorted(known + lines[:MAX_LINES])[:MAX_LINES]

    def note(self, sentence: str) -> None:
        """Add a sentence, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def extend(self, later: Self) -> None:
        """Take in the report of the part of the file that follows."""
        self.counts.update(later.counts)
        for code, lines in later.lines.items():
            known = self.lines.setdefault(code, [])
            known.extend(self.n_lines + line for line in lines)
            del known[MAX_LINES:]
        for sentence in later.notes:
            self.note(sentence)
        self.n_lines += later.n_lines

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain values, in a fixed order."""
        return {
            "counts": dict(sorted(self.counts.items())),
            "first_lines": dict(sorted(self.lines.items())),
            "notes": self.notes,
            "n_lines": self.n_lines,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the report that ``as_json`` wrote."""
        lines = {code: list(known) for code, known in values["first_lines"].items()}
        return cls(Counter(values["counts"]), lines, list(values["notes"]), values["n_lines"])


def silent_bytes(n_bytes: int) -> None:
    """Tell nobody how many bytes were read."""


@dataclass(frozen=True)
class Source:
    """One file to read, and everything its reader needs to know.

    Attributes:
        path: the file, or the folder of a database; local.
        name: what the rows say they come from.
        licence: what the rows say they are under.
        settings: language, excluded tags and limits.
        report: where the reader counts what it leaves out.
        advance: told the number of bytes read since the last call.
        start: first byte to read, at the start of a line.
        stop: where to stop, at the end of a line; at the end of the file if None.
        made_on: the day the file was extracted, where it is known.
    """

    path: Path
    name: str
    licence: str
    settings: LexiconConfig
    report: Report = field(default_factory=Report)
    advance: Callable[[int], None] = silent_bytes
    start: int = 0
    stop: int | None = None
    made_on: date | None = None
