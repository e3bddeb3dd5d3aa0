"""The pictures of a report: differences with their intervals, and how the students trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dskd_core.evaluation.comparison.statistics import Comparison
from dskd_core.evaluation.report.labels import NAMES
from dskd_core.training.loop.curve import running_mean

COLOURS = {
    "kd": "#4477aa",
    "paper": "#cc3311",
    "recommended": "#33bbee",
    "kd_mse": "#228833",
    "paper_own": "#ee7733",
    "paper_shuffled": "#aa3377",
    "paper_no_hinge": "#009988",
}
_VERDICTS = {"better": "#1b7837", "worse": "#b2182b"}
_PANELS = (("ce", "CE of the batch (nats)"), ("active_share", "hinge active share"))
"""Columns of a student's log (training/loop/terms.py), and what the chart calls them."""


@dataclass(frozen=True)
class Curve:
    """One student's log.

    Attributes:
        arm, seed: whose.
        history: column -> [n_steps].
    """

    arm: str
    seed: int
    history: dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Bar:
    """One difference with its two intervals.

    Attributes:
        label: on the left.
        figures: on the right.
        comparison: the difference and its intervals, in the picture's unit.
        verdict: in words; better and worse have a colour.
    """

    label: str
    figures: str
    comparison: Comparison
    verdict: str


def draw_differences(bars: Sequence[Bar], unit: str, path: Path) -> None:
    """Draw differences and intervals, one below the other, around zero.

    The interval over seeds may be many times as wide as the other; it is cut at three times the
    widest bootstrap interval, with an arrow where it goes on. The bytes of the PNG depend on the
    bars alone.
    """
    figure, axes = _figure((8.4, 0.62 + 0.34 * len(bars)), n_rows=1)
    axis = axes[0]
    reach = _reach([bar.comparison for bar in bars])
    axis.axvline(0.0, color="#1b1b1b", linewidth=0.8)
    for place, bar in enumerate(reversed(bars)):
        _draw_bar(axis, bar, place, reach)
    axis.set_yticks(range(len(bars)), [_literal(bar.label) for bar in reversed(bars)])
    axis.set_xlim(-reach, reach)
    axis.set_ylim(-0.6, len(bars) - 0.4)
    axis.set_xlabel(unit)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.grid(axis="x", alpha=0.22)
    _save(figure, path)


def _literal(label: str) -> str:
    """Return a label that matplotlib does not read as mathematics."""
    return label.replace("$", r"\$")


def _reach(found: Sequence[Comparison]) -> float:
    """Return how far the axis goes on either side of zero."""
    ends = (abs(end) for c in found for end in (c.low, c.high, c.difference))
    reach = max(1.15 * max(ends, default=1.0), 1e-9)
    seed_ends = (abs(end) for c in found for end in (c.seed_low, c.seed_high) if end)
    return max(reach, min(1.06 * max(seed_ends, default=0.0), 3.0 * reach))


def _draw_bar(axis: Any, bar: Bar, place: int, reach: float) -> None:
    found, colour = bar.comparison, _VERDICTS.get(bar.verdict, "#7a7a7a")
    _draw_seed_interval(axis, found, place, reach, colour)
    broad = {"linewidth": 5.0, "alpha": 0.4, "solid_capstyle": "butt"}
    axis.plot([found.low, found.high], [place, place], color=colour, **broad)
    face = colour if bar.verdict in _VERDICTS else "white"
    inside = [value for value in found.by_seed if abs(value) <= reach]
    axis.plot(inside, [place - 0.27] * len(inside), "|", color=colour, markersize=4.0)
    axis.plot([found.difference], [place], "o", color=colour, markerfacecolor=face, markersize=5.5)
    beside = {"xycoords": ("axes fraction", "data"), "va": "center"}
    axis.annotate(bar.figures, (1.02, place), fontsize=8.2, color="#333333", **beside)


def _draw_seed_interval(
    axis: Any, found: Comparison, place: int, reach: float, colour: str
) -> None:
    if found.seed_low is None or found.seed_high is None:
        return
    ends = [max(found.seed_low, -reach), min(found.seed_high, reach)]
    axis.plot(ends, [place, place], color=colour, linewidth=1.0)
    for end, whole, cut in ((ends[0], found.seed_low, "<"), (ends[1], found.seed_high, ">")):
        marker = "|" if end == whole else cut
        axis.plot([end], [place], marker, color=colour, markersize=6.0, clip_on=False)


def draw_training(curves: Sequence[Curve], path: Path) -> None:
    """Draw every student's log as a PNG whose bytes depend on the curves alone.

    The hinge has a panel where an arm has a hinge. The axis of CE leaves out how far it is above
    all later values in the first tenth of the steps, where a student falls by ten nats and more.
    """
    panels = [panel for panel in _PANELS if any(panel[0] in curve.history for curve in curves)]
    figure, axes = _figure((8.4, 5.2 if len(panels) == 2 else 3.6), n_rows=len(panels))
    for axis, (column, label) in zip(axes, panels, strict=True):
        for curve in curves:
            _draw_curve(axis, curve, column)
        axis.set_ylabel(label)
        axis.grid(alpha=0.22)
        if column == "active_share":
            axis.set_ylim(-0.02, 1.02)
    later = [curve.history["ce"][len(curve.history["ce"]) // 10 :] for curve in curves]
    axes[0].set_ylim(top=1.05 * max(float(np.nanmax(values)) for values in later))
    axes[0].legend(frameon=False)
    axes[-1].set_xlabel("step")
    _save(figure, path)


def _figure(size: tuple[float, float], *, n_rows: int) -> tuple[Any, list[Any]]:
    """Return a figure and its axes, one below the other, without a display."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    mpl.rcParams["font.family"] = "DejaVu Serif"  # ships with matplotlib
    figure = Figure(figsize=size, dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    ratios = (2, 1) if n_rows == 2 else (1,)
    axes = figure.subplots(n_rows, 1, sharex=True, height_ratios=ratios, squeeze=False)[:, 0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8.6)
        axis.xaxis.label.set_size(9.0)
        axis.yaxis.label.set_size(9.0)
    return figure, list(axes)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Software": None, "Date": None})


def _draw_curve(axis: Any, curve: Curve, column: str) -> None:
    values = curve.history.get(column)
    if values is None:  # KD has no hinge
        return
    style = {"color": COLOURS.get(curve.arm, "#666666")}
    steps = 1 + np.flatnonzero(np.isfinite(values))  # a step may have no position with L_sem
    values = values[steps - 1]
    axis.plot(steps, values, alpha=0.2, linewidth=0.8, **style)
    labelled = {line.get_label() for line in axis.get_lines()}
    name = NAMES.get(curve.arm, curve.arm)
    label = f"_{name}" if name in labelled else name
    mean = running_mean(values, max(1, len(values) // 20))
    axis.plot(steps, mean, linewidth=1.3, label=label, **style)
