"""The training picture: cross-entropy and the hinge's active share of every student, by step."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLOURS = {
    "kd": "#4477aa",
    "dskd": "#cc3311",
    "kd_mse": "#228833",
    "dskd_own": "#ee7733",
    "dskd_shuffled": "#aa3377",
    "dskd_no_hinge": "#009988",
}
_PANELS = (("ce", "CE of the batch (nats)"), ("active_share", "hinge active share"))


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


def smoothed(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return the mean of the last ``width`` values (fewer at the start) at each place.

    >>> smoothed(np.array([1.0, 3.0, 5.0]), 2).tolist()
    [1.0, 2.0, 4.0]
    """
    sums = np.concatenate(([0.0], np.cumsum(values)))
    stop = np.arange(1, len(values) + 1)
    start = np.maximum(0, stop - width)
    return (sums[stop] - sums[start]) / (stop - start)  # type: ignore[no-any-return]


def draw_loss(curves: Sequence[Curve], path: Path) -> None:
    """Draw every student's log as a PNG whose bytes depend on the curves alone."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 5.6), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for axis, (column, label) in zip(axes, _PANELS, strict=True):
        for curve in curves:
            _draw(axis, curve, column)
        axis.set_ylabel(label)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    axes[1].set_ylim(-0.02, 1.02)
    axes[1].set_xlabel("step")
    figure.savefig(path, metadata={"Software": None, "Date": None})


def _draw(axis: Any, curve: Curve, column: str) -> None:
    values = curve.history.get(column)
    if values is None:  # KD has no hinge
        return
    style = {"color": COLOURS.get(curve.arm, "#666666")}
    steps = np.arange(1, len(values) + 1)
    axis.plot(steps, values, alpha=0.2, linewidth=0.8, **style)
    labelled = {line.get_label() for line in axis.get_lines()}
    label = f"_{curve.arm}" if curve.arm in labelled else curve.arm
    axis.plot(
        steps, smoothed(values, max(1, len(values) // 20)), linewidth=1.3, label=label, **style
    )
