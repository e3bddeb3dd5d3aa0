"""How work reports what it has done, and how people write durations, rates and sizes."""

from dataclasses import dataclass
from typing import Protocol


class Progress(Protocol):
    """Called by a stage now and then; whoever listens decides what to show and how often."""

    def __call__(self, n_done: int, n_total: int, unit: str, **measures: float) -> None:
        """Report that ``n_done`` of ``n_total`` units are finished, with figures worth showing."""


def silent(n_done: int, n_total: int, unit: str, **measures: float) -> None:
    """Report to nobody."""


@dataclass(frozen=True)
class StageEstimate:
    """How long a stage is expected to take on this machine.

    Attributes:
        stage: its name, as :mod:`flows.view.stages` lists them: ``teacher``, ``students``.
        seconds: from its beginning to its end, all shards or students together; 0 where its
            artifacts are there already.
    """

    stage: str
    seconds: float


def clock_time(seconds: float) -> str:
    """Write a duration as people do.

    >>> clock_time(9.6), clock_time(75), clock_time(3700)
    ('10 s', '1:15 min', '1:01 h')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


def rate_text(per_second: float) -> str:
    """Write a rate as people do.

    >>> rate_text(1234.5), rate_text(0.25)
    ('1,234.5/s', '15.0/min')
    """
    return f"{per_second:,.1f}/s" if per_second >= 1 else f"{60 * per_second:,.1f}/min"


def in_bytes(n_bytes: float) -> str:
    """Write a size as people do, in powers of ten.

    >>> in_bytes(900), in_bytes(7_080_000_000), in_bytes(1.14e12)
    ('900 B', '7.08 GB', '1.14 TB')
    """
    size, unit = float(n_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.3g} {unit}"


def in_words(name: str) -> str:
    """Write the name of a count as people do.

    >>> in_words("n_sure_antonyms")
    'sure antonyms'
    """
    return name.removeprefix("n_").replace("_", " ")
