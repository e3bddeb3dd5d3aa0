"""SIGTERM to a real flow in mid-training: the step is finished and saved, Prefect ends the run."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dskd_core.config import PipelineConfig
from dskd_core.store.artifacts import ArtifactStore
from tests.miniature import Built, make

ROOT = Path(__file__).parents[2]
FLOW = """
import sys, time
from pathlib import Path
import torch
from flows.settings import use_own_prefect
use_own_prefect()
from dskd_core.config import PipelineConfig
from dskd_core.training.loop.step import Run
from flows.pipeline import pipeline

torch.set_num_threads(1)
step, sign = Run.step, Path(sys.argv[2])

def slow(run, number, history=()):
    row = step(run, number, history)
    if number == 5 and sign.name != "calm":
        sign.write_text("in the middle of step 5")
        time.sleep(3.0)
    return row

Run.step = slow
pipeline(PipelineConfig.model_validate_json(Path(sys.argv[1]).read_text()))
print("the flow ended")
"""


@pytest.fixture
def started(tmp_path):
    """Start the flow in a process of its own, with a Prefect of its own, its log in a file."""
    processes = []

    def start(config: PipelineConfig, sign: str) -> subprocess.Popen:
        settings = tmp_path / f"{sign}.json"
        settings.write_text(config.model_dump_json())
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
        environment |= {"PREFECT_HOME": str(tmp_path / "prefect"), "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [sys.executable, "-c", FLOW, str(settings), str(tmp_path / sign)],
            env=environment,
            cwd=tmp_path,
            stdout=(tmp_path / f"{sign}.log").open("w"),
            stderr=subprocess.STDOUT,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


def wait_for(path: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 200
    while not path.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"training never began: {path.with_suffix('.log').read_text()[-3000:]}")
        time.sleep(0.05)


def states(home: Path) -> list[tuple[str, str]]:
    """Return name and state of every run in Prefect's database, the flow's first."""
    with sqlite3.connect(home / "prefect.db") as database:
        flows = database.execute(
            "SELECT name, state_type FROM flow_run ORDER BY created"
        ).fetchall()
        tasks = database.execute("SELECT name, state_type FROM task_run").fetchall()
    return flows + tasks


@pytest.mark.slow
def test_a_flow_that_is_told_to_end_in_training_saves_its_step_and_can_be_run_again(
    tmp_path, started
):
    evaluation = {"arms": ["kd"], "seeds": [0], "n_resamples": 20}
    config = make(tmp_path, evaluation=evaluation, training={"checkpoint_steps": 1000})
    store = ArtifactStore(config.root_uri)
    Built(config).inputs("kd")

    process = started(config, "told")
    wait_for(tmp_path / "told", process)
    process.send_signal(signal.SIGTERM)
    ended = process.wait(timeout=100)

    log = (tmp_path / "told.log").read_text()
    assert ended == -signal.SIGTERM, log[-3000:]
    assert "Stopped after step 6" in log
    assert "the flow ended" not in log
    assert store.of_stage("student") == []
    assert [a.record.config["step"] for a in store.of_stage("checkpoint")] == [6]
    seen = dict(states(tmp_path / "prefect"))
    assert seen["student kd seed 0"] == "CRASHED"
    assert next(state for name, state in seen.items() if name.startswith("pipeline")) == "CRASHED"

    again = started(config, "calm")
    assert again.wait(timeout=200) == 0, (tmp_path / "calm.log").read_text()[-3000:]
    (resumed,) = store.of_stage("student")
    undisturbed = config.model_copy(update={"root_uri": str(tmp_path / "undisturbed")})
    assert Built(undisturbed).student("kd", 0).record.files == resumed.record.files
