"""Asking a run to stop: the step under way ends, a checkpoint is written, the run ends.

A signal reaches the main thread, while Prefect runs the training in another; so whoever is told
to stop asks here, and the training looks here after every step. A worker of a cluster has tasks
of several runs, and one of them can be asked by its name.
"""

import contextlib
import signal
from collections.abc import Iterator
from contextvars import ContextVar
from types import FrameType

_EVERY_RUN = ""
_asked: set[str] = set()
_finishing: list[None] = []
_own: ContextVar[str] = ContextVar("run", default=_EVERY_RUN)


class Interrupted(BaseException):
    """A run that was asked to stop, with its work kept.

    Like ``KeyboardInterrupt`` it is no error: whoever handles errors lets it pass, and Prefect
    calls the task crashed and does not retry it.
    """


def belong_to(run: str) -> None:
    """Say which run the work of this thread is part of."""
    _own.set(run)


def request(run: str = _EVERY_RUN) -> None:
    """Ask the work of a run, or all work in this process, to stop at its next safe place."""
    _asked.add(run)


def is_requested() -> bool:
    """Say whether somebody asked."""
    return bool(_asked) and (_EVERY_RUN in _asked or _own.get() in _asked)


def clear(run: str = _EVERY_RUN) -> None:
    """Forget that somebody asked: a new run begins."""
    _asked.discard(run)


def check() -> None:
    """Stop here if somebody asked, where nothing needs to be kept first.

    Raises:
        Interrupted: if so.
    """
    if is_requested():
        raise Interrupted("The work was asked to stop; what is finished is kept: run it again.")


@contextlib.contextmanager
def finishing() -> Iterator[None]:
    """Mark work that whoever ends this process waits for, however long it takes.

    Such work stops by itself soon after it was asked, and keeps what it did. All other work loses
    the artifact it is at whether it is waited for or not.
    """
    _finishing.append(None)  # appending and popping are atomic, adding to a number is not
    try:
        yield
    finally:
        _finishing.pop()


def is_finishing() -> bool:
    """Say whether a thread of this process is at such work."""
    return bool(_finishing)


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
