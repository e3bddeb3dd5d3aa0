"""Asking a run to stop: the step under way ends, a checkpoint is written, the run ends.

A signal reaches the main thread, while Prefect runs the training in another; so whoever is told
to stop asks here, and the training looks here after every step.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_asked = threading.Event()


class Interrupted(BaseException):
    """A run that was asked to stop, with its work kept.

    Like ``KeyboardInterrupt`` it is no error: whoever handles errors lets it pass, and Prefect
    calls the task crashed and does not retry it.
    """


def request() -> None:
    """Ask all work in this process to stop at its next safe place."""
    _asked.set()


def is_requested() -> bool:
    """Say whether somebody asked."""
    return _asked.is_set()


def clear() -> None:
    """Forget that somebody asked: a new run begins."""
    _asked.clear()


def check() -> None:
    """Stop here if somebody asked, where nothing needs to be kept first.

    Raises:
        Interrupted: if so.
    """
    if is_requested():
        raise Interrupted("The work was asked to stop; what is finished is kept: run it again.")


@contextlib.contextmanager
def on_sigterm() -> Iterator[None]:
    """Let SIGTERM ask, while the block runs in the main thread of a process without Prefect."""

    def ask(number: int, frame: FrameType | None) -> None:
        request()

    before = signal.signal(signal.SIGTERM, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        clear()
