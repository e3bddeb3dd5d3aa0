"""A process that trains one student, and is sent a signal on the way if told to."""

import os

import torch

from dskd_core import interruption
from dskd_core.config import PipelineConfig
from dskd_core.interruption import Interrupted
from tests.miniature import Built

STOPPED = 143


def learn(config: PipelineConfig, number: int | None = None, step: int = 0) -> None:
    """Train; after ``step`` of all steps send this very process the signal ``number``."""
    torch.set_num_threads(1)

    def send(n_done: int, n_total: int, unit: str, **terms: float) -> None:
        if n_done == step and number is not None:
            os.kill(os.getpid(), number)

    with interruption.on_sigterm():
        try:
            Built(config).student("paper", 0, progress=send)
        except Interrupted:
            raise SystemExit(STOPPED) from None
