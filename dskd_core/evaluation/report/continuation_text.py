"""How teacher and students go on with the same beginnings, as a table of words."""

from collections.abc import Iterator, Sequence
from typing import Any

from dskd_core.evaluation.continuations import TEXT
from dskd_core.evaluation.report.labels import NAMES
from dskd_core.evaluation.report.page import Cell, Section, Table

_NOTHING = "(ends here)"


def continuation_sections(rows: Sequence[dict[str, Any]]) -> Iterator[Section]:
    """Yield the beginnings and what each model writes after them; nothing without any."""
    if not rows:
        return
    lines: list[tuple[Cell, Cell]] = []
    document = None
    for row in rows:
        if row["document"] != document:
            document = row["document"]
            lines.append((Cell("beginning", True), Cell(row["beginning"], True)))
        lines.append((Cell(writer(row)), Cell(row["continuation"].strip() or _NOTHING)))
    words = (
        "Beginnings of held-out documents, and the most probable tokens after them, one after the "
        "other (greedy decoding). They measure nothing; they show what the scores are worth."
    )
    table = Table(("", "text"), tuple(lines), "", is_words=True)
    yield Section("Continuations", (words,), table)


def writer(row: dict[str, Any]) -> str:
    """Return who wrote a row: a model, with its seed, or the document itself.

    >>> writer({"arm": "kd", "seed": 2}), writer({"arm": "text", "seed": None})
    ('KD, seed 2', 'the document')
    """
    if row["arm"] == TEXT:
        return "the document"
    return NAMES[row["arm"]] if row["seed"] is None else f"{NAMES[row['arm']]}, seed {row['seed']}"
