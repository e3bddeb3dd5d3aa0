"""A stage's progress, in the run's log, as a bar and, in training, as a curve in the Prefect UI."""

import logging
import re
import time
from collections.abc import Callable
from uuid import UUID

from prefect.runtime import flow_run

from dskd_core import interruption
from dskd_core.progress import clock_time, rate_text
from tasks.curves import LiveCurve
from tasks.listeners import Progressed, stage_of, tell
from tasks.policy import briefly
from tasks.redacted_pages import create_progress_artifact, update_progress_artifact

LOG_SECONDS = 5.0
BAR_SECONDS = 10.0


def key_of(title: str) -> str:
    """Turn a title into a key Prefect accepts for an artifact.

    >>> key_of("student kd_mse seed 1")
    'student-kd-mse-seed-1'
    """
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


class PrefectProgress:
    """Reports at most every few seconds, so that showing work never slows it down.

    Attributes:
        history: the measures of every training step, as rows ready for a table.
    """

    def __init__(
        self,
        title: str,
        logger: logging.Logger | logging.LoggerAdapter[logging.Logger],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.title = title
        self.history: list[dict[str, float | int]] = []
        self._logger = logger
        self._clock = clock
        self._started: tuple[float, int] | None = None
        self._logged = self._drawn = float("-inf")
        self._bar: UUID | None = None
        self._ended = False
        self._curve = LiveCurve(title, key_of(f"{title} curve"), logger, clock=clock)
        self._n_steps = 0
        self._stage = stage_of(title)
        interruption.belong_to(flow_run.id or "")

    def __call__(self, n_done: int, n_total: int, unit: str, **measures: float) -> None:
        """Note that ``n_done`` of ``n_total`` units are finished.

        Raises:
            Interrupted: if the run was asked to stop; what is not published is made again.
        """
        now = self._clock()
        tell(Progressed(self._stage, self.title, n_done, n_total, unit, measures))
        # A resumed run starts in the middle: the rate counts what was done here alone.
        self._started = self._started or (now, n_done)
        if measures and unit == "steps":
            self.history.append({unit: n_done, **measures})
            self._n_steps = n_total
            self._curve(self.history, n_total)
        last = n_done >= n_total and not self._ended
        self._ended = self._ended or last
        if last or now - self._logged >= LOG_SECONDS:
            self._logged = now
            self._logger.info("%s", self._line(now, n_done, n_total, unit, measures))
        if last or now - self._drawn >= BAR_SECONDS:
            self._drawn = now
            self._draw(100.0 * n_done / max(n_total, 1))
        interruption.check()

    def end(self) -> None:
        """Show how the work stood when it ended, well or not."""
        if self.history:
            self._curve.show(self.history, self._n_steps)

    def _line(
        self, now: float, n_done: int, n_total: int, unit: str, measures: dict[str, float]
    ) -> str:
        started, n_before = self._started or (now, n_done)
        parts = [f"{self.title}: {n_done:,} of {n_total:,} {unit}"]
        if now > started and n_done > n_before:
            rate = (n_done - n_before) / (now - started)
            parts.append(rate_text(rate))
            if n_done < n_total:
                parts.append(f"{clock_time((n_total - n_done) / rate)} left")
        parts += [f"{name} {value:.4g}" for name, value in measures.items()]
        return ", ".join(parts)

    def _draw(self, percent: float) -> None:
        try:
            with briefly():
                self._put(percent)
        except Exception as error:  # a bar that cannot be drawn must not end hours of work
            self._logger.warning("%s: the progress bar was not drawn (%s).", self.title, error)

    def _put(self, percent: float) -> None:
        if self._bar is None:
            key = key_of(f"progress {self.title}")
            self._bar = create_progress_artifact(percent, key=key, description=self.title)
        else:
            update_progress_artifact(self._bar, progress=percent)
