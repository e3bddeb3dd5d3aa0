"""A training run's loss curve in the Prefect UI, redrawn while it runs."""

import base64
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from dskd_core.markdown import heading, table
from tasks.policy import briefly
from tasks.redacted_pages import create_markdown_artifact, update_markdown_artifact

CURVE_SECONDS = 20.0
FIRST_SECONDS = 5.0
MOST_OF_TIME = 0.02
"""Share of the time that drawing may take, once the first has loaded what it needs."""
N_ROWS = 12
_FIRST_COLUMNS = ("steps", "loss", "ce", "kl", "validation_ce", "validation_kl")

Row = Mapping[str, float]


class LiveCurve:
    """One artifact a run: a picture and a table of the log so far, never one artifact a step."""

    def __init__(
        self,
        title: str,
        key: str,
        logger: logging.Logger | logging.LoggerAdapter[logging.Logger],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.title = title
        self._key = key
        self._logger = logger
        self._clock = clock
        self._artifact: UUID | None = None
        self._n_shown = 0
        self._due = clock() + FIRST_SECONDS

    def __call__(self, history: Sequence[Row], n_steps: int) -> None:
        """Show the log so far, if it is time again."""
        if self._clock() >= self._due:
            self.show(history, n_steps)

    def show(self, history: Sequence[Row], n_steps: int) -> None:
        """Show the log so far, unless just that is shown already."""
        if len(history) == self._n_shown:
            return
        began, first = self._clock(), self._artifact is None
        try:
            with briefly():
                self._put(page_of(self.title, history, n_steps))
        except Exception as error:  # a curve that cannot be drawn must not end hours of work
            self._logger.warning("%s: the loss curve was not drawn (%s).", self.title, error)
        self._n_shown = len(history)
        now = self._clock()
        pause = 0.0 if first else (now - began) / MOST_OF_TIME
        self._due = now + max(CURVE_SECONDS, pause)

    def _put(self, page: str) -> None:
        if self._artifact is None:
            self._artifact = create_markdown_artifact(page, key=self._key, description=self.title)
        else:
            update_markdown_artifact(self._artifact, page)


def page_of(title: str, history: Sequence[Row], n_steps: int) -> str:
    """Write the log so far as markdown: its picture, its numbers now and then."""
    from dskd_core.training.loop.curve import draw_run

    picture = base64.b64encode(draw_run(history, n_steps)).decode()
    first = heading(f"{title}: step {history[-1]['steps']:,.0f} of {n_steps:,}")
    return f"{first}\n\n![loss](data:image/png;base64,{picture})\n\n{table_of(history)}\n"


def table_of(history: Sequence[Row]) -> str:
    """Write a few rows of the log as a markdown table; those with a validation score, if any.

    >>> print(table_of([{"steps": 1, "ce": 2.5}, {"steps": 2, "ce": 2.25, "lr": 0.001}]))
    | steps | ce | lr |
    |---:|---:|---:|
    | 1 | 2.5 |  |
    | 2 | 2.25 | 0.001 |
    """
    rows = thinned([row for row in history if "validation_ce" in row] or history, N_ROWS)
    names = sorted(columns_of(history), key=lambda name: name not in _FIRST_COLUMNS)
    body = [[f"{row[name]:.4g}" if name in row else "" for name in names] for row in rows]
    rule = f"|{'---:|' * len(names)}"  # all are numbers, the first column too
    first, _, *lines = table([name.replace("_", " ") for name in names], body).split("\n")
    return "\n".join([first, rule, *lines])


def columns_of(history: Sequence[Row]) -> list[str]:
    """Return the names of all measures, in the order in which they first came."""
    return list(dict.fromkeys(name for row in history for name in row))


def thinned(history: Sequence[Row], most: int) -> list[Row]:
    """Return at most ``most`` + 1 rows, evenly spaced, the last one among them.

    >>> [row["steps"] for row in thinned([{"steps": i} for i in range(10)], 3)]
    [0, 4, 8, 9]
    """
    stride = -(-len(history) // most)
    places = sorted({*range(0, len(history), stride), len(history) - 1})
    return [history[place] for place in places]
