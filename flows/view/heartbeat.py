"""A line now and then where no terminal is: a run that says nothing looks dead."""

import logging
import threading
import time
from collections.abc import Callable

QUIET_SECONDS = 10.0
"""A line comes after so much silence, with room to spare below 15 s for a process that is busy."""


class Heartbeat:
    """Says how the run stands after every so many seconds in which nothing else was written.

    Args:
        say: writes the line.
        clock: seconds.
    """

    def __init__(
        self, say: Callable[[], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say, self._clock = say, clock
        self._heard = clock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        self._thread.join(timeout=2)

    def heard(self) -> None:
        """Note that a line was written."""
        self._heard = self._clock()

    def beat(self) -> None:
        """Write a line, if it has been silent for long enough."""
        if self._clock() - self._heard >= QUIET_SECONDS:
            self._say()
            self.heard()

    def _run(self) -> None:
        while not self._stopping.wait(QUIET_SECONDS / 10):
            self.beat()


class Overheard(logging.Handler):
    """Tells a heartbeat of every line that is logged."""

    def __init__(self, heartbeat: Heartbeat) -> None:
        super().__init__()
        self._heartbeat = heartbeat

    def emit(self, record: logging.LogRecord) -> None:
        """Note it."""
        self._heartbeat.heard()
