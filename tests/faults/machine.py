"""A process as the launcher starts it, on a machine of its own as far as a folder makes one."""

import os
import signal
import sys
import time
from pathlib import Path

import torch
import typer

from dskd_core.config import PipelineConfig
from dskd_core.interruption import Interrupted
from dskd_core.training.ranks import machines
from dskd_core.training.ranks.launched import Launched
from dskd_core.training.ranks.meeting import LostMachineError
from flows.cli import refusals
from flows.torchrun import join
from tests.faults.learner import STOPPED
from tests.miniature import Built

BEAT, SILENT = 0.2, 8.0
PID, SAID = "pid", "said"


def machine(
    config: PipelineConfig,
    environment: dict[str, str],
    folder: Path,
    victim: Path | None = None,
    number: int = signal.SIGKILL,
    step: int = 0,
) -> None:
    """Meet the others and train; after ``step`` steps the first rank sends ``victim`` a signal.

    Args:
        config: the settings this machine was started with.
        environment: what the launcher says.
        folder: the working folder, where this leaves its number and what it says.
        victim: the folder of the process that is sent a signal.
        number: of the signal.
        step: when.
    """
    os.chdir(folder)
    os.environ.update(environment)
    Path(PID).write_text(str(os.getpid()))
    sys.stdout = sys.stderr = Path(SAID).open("w", buffering=1)  # noqa: SIM115
    torch.set_num_threads(1)
    machines._BEAT_SECONDS, machines.SILENT_SECONDS = BEAT, SILENT
    machines._LAST_WORDS_SECONDS = 1.0

    def send(n_done: int, n_total: int, unit: str, **terms: float) -> None:
        if victim and n_done == step:
            os.kill(int((victim / PID).read_text()), number)
            time.sleep(0.2)

    def train() -> None:
        try:
            Built(config).student("paper", 0, progress=send)
        except LostMachineError:
            raise
        except Interrupted as error:
            print(error, file=sys.stderr)
            raise typer.Exit(STOPPED) from None

    place = Launched.from_environment(os.environ)
    assert place
    try:
        with refusals():
            join(place, config, train)
    except typer.Exit as end:
        raise SystemExit(end.exit_code) from None
