"""A comparison of two arms as cells of a table, a bar of a picture, a row of a record."""

from typing import Any

from dskd_core.config import EvaluationConfig
from dskd_core.evaluation.comparison.arms import ArmPair
from dskd_core.evaluation.report.figures import Bar
from dskd_core.evaluation.report.labels import NAMES, interval, signed
from dskd_core.evaluation.report.page import Cell

HEADERS = ("", "difference", "bootstrap", "t over seeds", "detectable")


def difference_cells(
    title: str, pair: ArmPair, digits: int, factor: float = 1.0
) -> tuple[Cell, ...]:
    """Return the cells under ``HEADERS``; the difference is bold where an arm is better or worse.

    Times ``factor``, figures are in the unit of the table.
    """
    found = pair.comparison.scaled(factor)
    return (
        Cell(title),
        Cell(signed(found.difference, digits), pair.is_decided),
        Cell(interval(found.low, found.high, digits)),
        Cell(interval(found.seed_low, found.seed_high, digits)),
        Cell(f"{found.detectable:.{digits}f}"),
    )


def difference_bar(
    label: str, pair: ArmPair, digits: int, *, text_factor: float = 1.0, bar_factor: float = 1.0
) -> Bar:
    """Return a bar of a picture; its figures and its length may have different units."""
    found = pair.comparison.scaled(text_factor)
    figures = f"{signed(found.difference, digits)}  {interval(found.low, found.high, digits)}"
    return Bar(label, figures, pair.comparison.scaled(bar_factor), pair.verdict)


def describe_bars(arm: str, baseline: str, unit: str, config: EvaluationConfig) -> str:
    """Return the caption of a picture of bars."""
    return (
        f"{NAMES[arm]} minus {NAMES[baseline]}, {unit}. Broad line: {config.confidence:.0%} "
        "bootstrap interval over items and seeds. Thin line: t-interval over seeds; an arrow at "
        "its end means that it goes on. Short strokes below: the single seeds. Green or red: "
        "better or worse, both intervals exclude zero. Hollow: no significant difference."
    )


def difference_row(pair: ArmPair) -> dict[str, Any]:
    """Return a comparison's numbers as a record keeps them."""
    found = pair.comparison
    return {
        "difference": found.difference,
        "bootstrap_low": found.low,
        "bootstrap_high": found.high,
        "t_low": found.seed_low,
        "t_high": found.seed_high,
        "smallest_detectable": found.detectable,
    }
