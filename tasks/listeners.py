"""Who in this process hears how the work goes: nobody, unless a flow's command asks for it.

Tasks tell what they begin, how far they are and how they end. A listener hears the tasks of its own
process, so all of them where tasks run in threads, and none that runs on a cluster.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeVar

Outcome = Literal["found", "made", "failed", "stopped"]


@dataclass(frozen=True)
class Planned:
    """A stage turned out to have so many tasks: shards, students."""

    stage: str
    n_tasks: int


@dataclass(frozen=True)
class Begun:
    """A stage, or one shard of it, began."""

    stage: str
    title: str
    is_shard: bool = False


@dataclass(frozen=True)
class Progressed:
    """So many units of it are done."""

    stage: str
    title: str
    n_done: int
    n_total: int
    unit: str
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """It ended; ``counts`` are those of its artifact, by name."""

    stage: str
    title: str
    outcome: Outcome
    seconds: float
    is_shard: bool = False
    counts: Mapping[str, int] = field(default_factory=dict)


Event = Planned | Begun | Progressed | Ended
Listener = Callable[[Event], None]
A = TypeVar("A")

_LISTENERS: list[Listener] = []
_log = logging.getLogger("dskd.listeners")


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Let ``listener`` hear every event meanwhile; it is called from the threads of the tasks."""
    _LISTENERS.append(listener)
    try:
        yield
    finally:
        if listener in _LISTENERS:
            _LISTENERS.remove(listener)


def tell(event: Event) -> None:
    """Tell every listener; one that fails hears no more, since showing work must not end it."""
    for listener in tuple(_LISTENERS):
        try:
            listener(event)
        except Exception:
            _LISTENERS.remove(listener)
            _log.warning("The view of this run failed and hears no more.", exc_info=True)


def stage_of(title: str) -> str:
    """Return the name of the task that runs here; outside of any, the title itself."""
    from prefect.context import TaskRunContext  # slow to import, and a view begins before it

    context = TaskRunContext.get()
    return context.task.name if context else title


def told(
    title: str,
    build: Callable[[], A],
    *,
    outcome: Callable[[A], Outcome],
    counts: Callable[[A], Mapping[str, int]],
    is_shard: bool = False,
) -> A:
    """Build something and tell when it begins and how it ends.

    Args:
        title: names the work.
        build: does it.
        outcome: says whether what was built stood there before.
        counts: returns what it holds.
        is_shard: it is part of what its stage makes.
    """
    stage, began = stage_of(title), time.monotonic()
    tell(Begun(stage, title, is_shard))
    try:
        built = build()
    except BaseException as error:
        # A run that is told to end raises what is no Exception: Interrupted, KeyboardInterrupt.
        ended: Outcome = "failed" if isinstance(error, Exception) else "stopped"
        tell(Ended(stage, title, ended, time.monotonic() - began, is_shard))
        raise
    seconds = time.monotonic() - began
    tell(Ended(stage, title, outcome(built), seconds, is_shard, counts(built)))
    return built
