"""A contender in its own process, which takes a step when it is told to.

So its peak memory is its own, its libraries meet nobody else's, and the rounds of several can be
interleaved: while one steps, the others wait on their standard input. A line of JSON answers each
step. ``python -m benchmarks.peers.process NAME SCENARIO.json`` is the child's side.
"""

import contextlib
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from benchmarks.peers.scenario import Scenario

_ROOT = Path(__file__).parents[2]
_GO = "go\n"


class Enough(Exception):  # noqa: N818
    """Raised inside a training loop when no further step is wanted."""


class Tick:
    """What a contender calls after each of its steps: it answers, and waits for the next order."""

    def __init__(self, orders: TextIO, answers: TextIO) -> None:
        self._orders, self._answers = orders, answers
        self._started = time.perf_counter(), time.process_time()

    def __call__(self, **terms: float) -> None:
        """Report the step just taken.

        Raises:
            Enough: when the parent wants no more.
        """
        wall, cpu = self._started
        answer = {
            "seconds": time.perf_counter() - wall,
            "cpu_seconds": time.process_time() - cpu,
            "peak_bytes": peak_bytes(),
            "terms": terms,
        }
        self._answers.write(json.dumps(answer) + "\n")
        self._answers.flush()
        if self._orders.readline() != _GO:
            raise Enough
        self._started = time.perf_counter(), time.process_time()


def peak_bytes() -> int:
    """Return the most resident memory this process ever had: VmHWM, imports and loading included.

    Unlike ``ru_maxrss`` it does not count what the parent held when it started the process.
    """
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


class Contender:
    """The parent's side: start a contender, let it step, end it.

    Attributes:
        name: the name in the report.
        first: the terms of its first steps, in order.
        seconds: of each measured step, by the clock.
        cpu_seconds: likewise, of all its threads together: what a busy machine disturbs less.
        peak_bytes: VmHWM after its last step.
        failure: why it could not run, or None.
    """

    def __init__(self, name: str, module: str, scenario: Path, **options: Any) -> None:
        self.name = name
        self.first: list[dict[str, float]] = []
        self.seconds: list[float] = []
        self.cpu_seconds: list[float] = []
        self.peak_bytes = 0
        self.failure: str | None = None
        self._log = scenario.parent / f"{scenario.stem}-{name.replace(' ', '-')}.log"
        command = [sys.executable, "-m", "benchmarks.peers.process", module, str(scenario)]
        with self._log.open("w") as log:
            self._child = subprocess.Popen(
                [*command, json.dumps(options)],
                cwd=_ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._read()

    def steps(self, n_steps: int, *, measured: bool = True) -> None:
        """Take steps, one after the other; keep their seconds if they are measured."""
        for _ in range(n_steps):
            if self.failure:
                return
            assert self._child.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self._child.stdin.write(_GO)
                self._child.stdin.flush()
            answer = self._read()
            if measured and answer:
                self.seconds.append(answer["seconds"])
                self.cpu_seconds.append(answer["cpu_seconds"])

    def close(self) -> None:
        """End the process."""
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait()

    def _read(self) -> dict[str, Any] | None:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            self._child.wait()
            lines = self._log.read_text("utf-8", errors="replace").strip().splitlines()
            self.failure = lines[-1] if lines else f"ended with {self._child.returncode}"
            return None
        answer: dict[str, Any] = json.loads(line)
        self.first.append(answer["terms"])
        self.peak_bytes = answer["peak_bytes"]
        return answer


def main() -> None:
    """Train as the contender of a module until told that it is enough."""
    module, scenario, options = sys.argv[1:]
    # The answers keep the real standard output; whatever a library prints goes to the log.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    train = importlib.import_module(f"benchmarks.peers.{module}").train
    with contextlib.suppress(Enough):
        train(Scenario.read(Path(scenario)), Tick(sys.stdin, answers), **json.loads(options))


if __name__ == "__main__":
    main()
