"""A step beside a slow store: as long as the longer of reading and computing, not as both.

    python -m benchmarks.reading [--steps 12] [--threads 1]

The student is a small random llama, the store one that sleeps before it gives what it holds in
memory, as long for a batch as computing one took without. Timed are the steps beside the thread
that reads ahead, in each of them what follows once its batch is there (computing), and the reads
(reading): all in one run, so that what disturbs the machine disturbs all three.

The last line is JSON. ``step_vs_longer`` is a step beside the thread over the longer of the two, 1
if the one hides behind the other entirely; ``step_vs_sum`` the same over both together.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.machine import machine
from dskd_core.config import TrainingConfig
from dskd_core.decoder.decoder import Decoder
from dskd_core.training.activations.capture import TEXT, WindowActivations
from dskd_core.training.activations.readers import StoredActivations
from dskd_core.training.loop.schedule import Schedule
from dskd_core.training.loop.step import Run
from dskd_core.training.losses.objective import Objective
from dskd_core.training.losses.recipes import Recipe
from dskd_core.training.losses.targets import TeacherTargets
from dskd_core.training.ranks.ranks import Ranks
from dskd_core.training.student.shape import Shape
from dskd_core.training.student.tail import Tail

HIDDEN, VOCABULARY, LENGTH, WINDOWS = 256, 8192, 128, 8
GOALS = {"step_vs_longer": 1.15}


class SlowStore(StoredActivations):
    """Windows of random states in memory, given after a sleep."""

    def __init__(self) -> None:
        """Make four steps' windows."""
        generator = torch.Generator().manual_seed(0)
        self.seconds, self.took = 0.0, list[float]()
        self.training = list(range(4 * WINDOWS))
        self.held = [self._window(number, generator) for number in self.training]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Positions of each window."""
        return np.full(len(self.training), LENGTH)

    def labels(self, window: int) -> NDArray[np.int64]:
        """Return the next tokens."""
        return self.held[window].labels.numpy()

    def roles(self, window: int) -> NDArray[np.int64]:
        """Return that all is text."""
        return self.held[window].roles.numpy()

    def read(self, windows: Sequence[int]) -> list[WindowActivations]:
        """Sleep, then return windows; note how long that was."""
        started = time.perf_counter()
        time.sleep(self.seconds)
        self.took.append(time.perf_counter() - started)
        return [self.held[window] for window in windows]

    @staticmethod
    def _window(number: int, generator: torch.Generator) -> WindowActivations:
        states = torch.randn(3, LENGTH, HIDDEN, generator=generator)
        labels = torch.randint(VOCABULARY, (LENGTH,), generator=generator)
        targets = TeacherTargets(states[2] / HIDDEN, torch.full((LENGTH,), 5.0), labels)
        roles = torch.full((LENGTH,), TEXT)
        return WindowActivations(number, labels, roles, states[0], states[1], targets=targets)


class Watched(Objective):
    """An objective that notes when it is asked for, in ``began``."""

    began: ClassVar[list[float]] = []

    def loss(self, *args: Any, **totals: Any) -> Any:
        """Note the time, and compute."""
        Watched.began.append(time.perf_counter())
        return super().loss(*args, **totals)


def prepared(store: SlowStore, n_steps: int) -> Run:
    """Return a run of KD over the store's windows."""
    torch.manual_seed(0)
    sizes = {"intermediate_size": 2 * HIDDEN, "num_attention_heads": 4, "num_key_value_heads": 4}
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=VOCABULARY, hidden_size=HIDDEN, num_hidden_layers=4, **sizes)
    )
    student = Decoder(model.eval().requires_grad_(False), VOCABULARY)
    config = TrainingConfig(
        batch_windows=WINDOWS, n_epochs=n_steps / 4, compute_dtype="float32", compile_head=False
    )
    tail = Tail(student, 2)
    return Run(
        config=config,
        student=student,
        shape=Shape((0, 1, 2, 3), entry=2),
        tail=tail,
        optimizer=torch.optim.AdamW(tail.layers.parameters(), lr=1e-5, fused=True),
        objective=Watched(
            config, Recipe.from_config(config, "kd", 0.0), tail, student.output, torch.empty(0)
        ),
        schedule=Schedule(config, store, None, None, seed=0),
        activations=store,
        candidates=None,
        validation=None,
        ranks=Ranks.alone(),
    )


def timed(run: Run) -> tuple[float, float]:
    """Return the medians of a step, and of it without the wait for its batch, but for the first."""
    whole, computing = [], []
    for number in range(run.n_steps):
        started = time.perf_counter()
        run.step(number)
        ended = time.perf_counter()
        whole.append(ended - started)
        computing.append(ended - Watched.began[-1])
    return statistics.median(whole[2:]), statistics.median(computing[2:])


def main() -> None:
    """Run the benchmark and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found: dict[str, object] = dict(machine("cpu", "float32"))
    store = SlowStore()
    _, store.seconds = timed(prepared(store, options.steps))
    store.took.clear()
    run = prepared(store, options.steps)
    with run.reading_ahead(0):
        step, computing = timed(run)
    reading = statistics.median(store.took)
    figures = {
        "step_s": step,
        "reading_s": reading,
        "computing_s": computing,
        "step_vs_longer": step / max(reading, computing),
        "step_vs_sum": step / (reading + computing),
    }
    found |= {name: round(value, 4) for name, value in figures.items()}
    for name, goal in GOALS.items():
        print(f"{name}: {found[name]}, goal <= {goal}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
