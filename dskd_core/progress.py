"""How long work reports what it has done."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class StageEstimate:
    """How long a stage is expected to take.

    Attributes:
        stage: its name.
        seconds: of the clock.
    """

    stage: str
    seconds: float


class Progress(Protocol):
    """Called by a stage now and then; whoever listens decides what to show and how often."""

    def __call__(self, n_done: int, n_total: int, unit: str, **measures: float) -> None:
        """Report that ``n_done`` of ``n_total`` units are finished, with figures worth showing."""


def silent(n_done: int, n_total: int, unit: str, **measures: float) -> None:
    """Report to nobody."""
