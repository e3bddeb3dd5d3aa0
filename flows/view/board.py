"""What is done, what runs and what is to come, with the time it takes: what every view shows."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence

from dskd_core.progress import StageEstimate
from flows.view.stage_progress import Row, StageProgress
from flows.view.stages import START, Stage, stage_named
from tasks.listeners import Begun, Event, Planned

_PRIOR_SECONDS = 30.0
"""Estimates are scaled by how the done stages went; so many seconds count as having gone right."""


class Board:
    """Hears the tasks of a run, from any thread, and says how the run stands.

    Args:
        stages: of the run, in order.
        clock: seconds.
    """

    def __init__(
        self,
        stages: Iterable[Stage],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock, self._lock = clock, threading.RLock()
        self._stages = {stage.name: StageProgress(stage, None) for stage in stages}
        self._began, self._ended = clock(), None
        self.estimated_seconds: float | None = None
        """What the whole run was expected to take before its first stage; None if nobody knows."""
        if start := self._stages.get(START):
            start.begin(self._began)

    def expect(self, estimates: Sequence[StageEstimate]) -> None:
        """Take in how long the stages will take; all together, so long takes the run."""
        with self._lock:
            for estimate in estimates:
                if estimate.stage in self._stages:
                    self._stages[estimate.stage].estimate = estimate.seconds
            known = [s.estimate for s in self._stages.values() if s.estimate is not None]
            self.estimated_seconds = sum(known) if known else None

    def note(self, doing: str) -> None:
        """Say what is done before the first stage."""
        with self._lock:
            if START in self._stages:
                self._stages[START].doing = doing

    def hear(self, event: Event) -> None:
        """Take in what a task tells."""
        name = stage_named(event.stage)
        with self._lock:
            if isinstance(event, Planned) and name not in self._stages:
                return
            now = self._clock()
            if isinstance(event, Begun) and START in self._stages:
                self._stages[START].finish(now)
            if name not in self._stages:
                self._stages[name] = StageProgress(Stage(name), None)
            self._stages[name].hear(event, now)

    def end(self) -> None:
        """Stop the clock: what runs now was stopped."""
        with self._lock:
            self._ended = self._clock()
            for stage in self._stages.values():
                stage.stop(self._ended)

    def rows(self) -> list[Row]:
        """Return one row a stage."""
        with self._lock:
            now, scale = self._now(), self._scale()
            return [stage.row(now, scale) for stage in self._stages.values()]

    @property
    def seconds(self) -> float:
        """How long the run has lasted."""
        return self._now() - self._began

    @property
    def n_found(self) -> int:
        """Stages that had nothing to make."""
        with self._lock:
            return sum(stage.is_found for stage in self._stages.values())

    def seconds_left(self) -> float | None:
        """Return about how long the run will go on; None without an estimate, and after it."""
        with self._lock:
            is_known = self.estimated_seconds is not None and self._ended is None
            return self._left() if is_known else None

    def _now(self) -> float:
        return self._clock() if self._ended is None else self._ended

    def _scale(self) -> float:
        """Return how much longer than estimated the stages that were made have taken."""
        telling = [
            stage
            for name, stage in self._stages.items()
            if name != START and stage.stage.branch != "right"
        ]
        made = [pair for stage in telling if (pair := stage.compared())]
        taken = sum(pair[0] for pair in made)
        return (_PRIOR_SECONDS + taken) / (_PRIOR_SECONDS + sum(pair[1] for pair in made))

    def _left(self) -> float:
        """Add up what the stages will still take.

        The right branch runs beside the left one, and is estimated by the time it adds to it; what
        it really takes counts once the left one is done.
        """
        now, scale = self._now(), self._scale()
        stages = self._stages.values()
        is_beside = any(s.stage.branch == "left" and not s.is_over for s in stages)
        left = 0.0
        for stage in stages:
            own = stage.seconds_left(now, scale) or 0.0
            if is_beside and stage.stage.branch == "right":
                own = min(own, (stage.estimate or 0.0) * scale)
            left += own
        return left
