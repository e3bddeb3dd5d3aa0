"""Work that no page waits for: one piece at a time, its progress told, its result kept."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from typing import Any

from dskd_core.errors import CapacityError
from dskd_core.progress import Progress

_MAX_KEPT = 32
Compute = Callable[[Progress], Any]


class _ClosedError(Exception):
    """Raised inside a piece of work whose results nobody will ask for."""


class Job:
    """A piece of work: how far it is, and its result.

    Attributes:
        key: names it in addresses.
        n_done, n_total, unit: what it last reported; 0 of 0 before it did.
    """

    def __init__(self, key: str) -> None:
        self.key, self.n_done, self.n_total, self.unit = key, 0, 0, ""
        self.future: Future[Any] = Future()

    @property
    def state(self) -> str:
        """One of waiting, running, finished, failed."""
        if self.future.done():
            failed = self.future.cancelled() or self.future.exception() is not None
            return "failed" if failed else "finished"
        return "running" if self.future.running() else "waiting"

    def is_done(self, within_seconds: float | None = 0.0) -> bool:
        """Say whether it ended, well or not; a page may wait a moment for what is quick."""
        return bool(wait([self.future], timeout=within_seconds).done)

    def result(self) -> Any:
        """Return the result of a finished job.

        Raises:
            CapacityError: if too much was asked for after it, so that it never ran.
            Exception: what the work raised.
        """
        try:
            return self.future.result(timeout=0)
        except CancelledError as error:
            raise CapacityError(
                f"{_MAX_KEPT} other pictures and lists were asked for first; load the page again."
            ) from error

    def wait(self) -> Any:
        """Return the result once it is there; see :meth:`result`."""
        self.is_done(None)
        return self.result()

    def as_json(self) -> dict[str, Any]:
        """Return what a page shows of it."""
        return {"state": self.state, "done": self.n_done, "total": self.n_total, "unit": self.unit}


class Jobs:
    """A queue with one thread; the last 32 jobs are kept, with their results."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Job] = OrderedDict()
        self._lock, self._closed = threading.Lock(), False
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="explorer")

    def ask(self, name: str, inputs: tuple[Any, ...], compute: Compute) -> Job:
        """Return the job of these inputs, begun if it is not there.

        One that failed is returned once, to say why, and begun again by the next that asks.

        Args:
            name: what is made.
            inputs: what its result depends on, as plain values; their text makes the key.
            compute: the work; it is given a :class:`Progress` to call now and then.
        """
        key = hashlib.sha256(repr((name, inputs)).encode()).hexdigest()[:16]
        with self._lock:
            job = self._kept.get(key)
            if job is None:
                job = self._kept[key] = Job(key)
                job.future = self._pool.submit(compute, self._reporter(job))
            elif job.state == "failed":
                return self._kept.pop(key)
            self._kept.move_to_end(key)
            if len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)[1].future.cancel()
            return job

    def find(self, key: str) -> Job | None:
        """Return a job by its key; None if it is not kept."""
        with self._lock:
            return self._kept.get(key)

    def close(self) -> None:
        """Drop what waits, and end what runs when it next reports."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _reporter(self, job: Job) -> Progress:
        def report(n_done: int, n_total: int, unit: str, **measures: float) -> None:
            if self._closed:
                raise _ClosedError
            job.n_done, job.n_total, job.unit = n_done, n_total, unit

        return report
