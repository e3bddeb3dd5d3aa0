"""One run's loss as it falls, drawn while it runs."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Row = Mapping[str, float]

_LOSSES = {
    "loss": ("loss", "#222222"),
    "ce": ("CE", "#4477aa"),
    "kl": ("KL", "#228833"),
    "validation_ce": ("CE, validation", "#cc3311"),
}
_SENSES = {
    "positive": ("to the senses", "#aa3377"),
    "negative": ("from antonyms", "#ee7733"),
    "state_mse": ("to the teacher's state", "#999999"),
}


def draw_run(history: Sequence[Row], n_steps: int) -> bytes:
    """Draw the log of one run as a PNG of some 30 kB: losses above, distances of states below.

    ``history`` has rows with ``steps`` (counted from 1) and the terms of the loss,
    ``validation_ce`` in some only; the axis runs to ``n_steps``, so that it shows how much is left.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(7.6, 4.8), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for axis, terms, label in zip(axes, (_LOSSES, _SENSES), ("nats", "MSE"), strict=True):
        for name, (words, colour) in terms.items():
            _draw(axis, history, name, words, colour)
        axis.set_ylabel(label)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        if axis.lines:
            axis.legend(frameon=False, fontsize="small", ncols=4, loc="upper right")
    axes[0].set_ylim(bottom=0.0)
    axes[1].set_ylim(bottom=0.0)
    axes[1].set_xlim(0, n_steps)
    axes[1].set_xlabel("step")
    picture = io.BytesIO()
    canvas.draw()
    # A server keeps many of these: 64 colours take a quarter of the bytes.
    Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(64).save(
        picture, "png"
    )
    return picture.getvalue()


def running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return the mean of the last ``width`` values (fewer at the start) at each place.

    >>> running_mean(np.array([1.0, 3.0, 5.0]), 2).tolist()
    [1.0, 2.0, 4.0]
    """
    sums = np.concatenate(([0.0], np.cumsum(values)))
    stop = np.arange(1, len(values) + 1)
    start = np.maximum(0, stop - width)
    return (sums[stop] - sums[start]) / (stop - start)  # type: ignore[no-any-return]


def _draw(axis: Any, history: Sequence[Row], name: str, words: str, colour: str) -> None:
    rows = [row for row in history if name in row]
    values = np.array([row[name] for row in rows])
    if not values.any():
        return
    steps = [row["steps"] for row in rows]
    if len(rows) < len(history):  # scored now and then: every value is worth a mark
        axis.plot(steps, values, marker="o", markersize=3, linewidth=1.0, color=colour, label=words)
        return
    axis.plot(steps, values, alpha=0.25, linewidth=0.7, color=colour)
    mean = running_mean(values, max(1, len(values) // 20))
    axis.plot(steps, mean, linewidth=1.4, color=colour, label=words)
