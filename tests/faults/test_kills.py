"""Runs of a deployment that are killed and paused at random moments, and retried until they end.

``make test-kills`` asks for 100 kills; DSKD_KILLS, DSKD_KILLS_SEED and DSKD_PAUSE_SECONDS say how
many, which, and how long a pause is.
"""

import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from prefect import get_client

from dskd_core.config import PipelineConfig
from dskd_core.store.artifacts import PARTIAL
from tasks.policy import GPU_LIMIT
from tests.faults.deployed import (
    ENDS,
    Contents,
    assert_whole,
    contents,
    is_alive,
    processes_of,
    retry,
    state_of,
)
from tests.miniature import make
from tests.served import Served, awaited, serving

N_KILLS = int(os.environ.get("DSKD_KILLS", "6"))
SEED = int(os.environ.get("DSKD_KILLS_SEED", "0"))
PAUSE_SECONDS = float(os.environ.get("DSKD_PAUSE_SECONDS", "15"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("prefect"),
    pytest.mark.timeout(900 + 120 * N_KILLS + 2 * PAUSE_SECONDS),
]


@dataclass(frozen=True)
class Calm:
    """An undisturbed run: its settings, what it published and how long its process lived."""

    config: PipelineConfig
    contents: Contents
    seconds: float


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    roots = {"DSKD_ROOTS": str(tmp_path_factory.getbasetemp())}
    with serving(folder, PREFECT_WORKER_QUERY_SECONDS="1", **roots) as served:
        # The slot of a killed holder is free again after a minute: enough of them for all.
        with get_client(sync_client=True) as client:
            client.upsert_global_concurrency_limit_by_name(GPU_LIMIT, 1000)
        yield served


@pytest.fixture(scope="module")
def calm(served, tmp_path_factory) -> Calm:
    config = make(
        tmp_path_factory.mktemp("kills"),
        evaluation={"arms": ["kd", "paper"], "seeds": [0], "n_resamples": 20},
    )
    run = served.start_run("pipeline", config)
    began = awaited(lambda: processes_of(run), 300)[0].create_time()
    assert state_of(run, *ENDS) == "COMPLETED"
    return Calm(config, contents(config), time.time() - began)


def kill(run) -> None:
    """Kill the process of a run's latest try, and see all it started end by themselves.

    Beside it there may be Prefect's process that reports the end of the try before.
    """
    tries = processes_of(run)
    ours = {process.pid for process in tries}
    first = [process for process in tries if parent_of(process) not in ours][-1]
    family = [first, *first.children(recursive=True)]
    first.kill()
    assert awaited(lambda: not any(is_there(member) for member in family), 30), family


def parent_of(process: psutil.Process) -> int:
    try:
        return process.ppid()
    except psutil.NoSuchProcess:
        return 0


def is_there(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def killed_until_it_ends(run, calm: Calm, moments: random.Random, n_kills: int) -> int:
    """Kill a run at random moments of its life and retry it; return how many kills came in time."""
    n_done = 0
    while n_done < n_kills:
        found = awaited(lambda: processes_of(run), 300)
        # A later run may be quicker than the calm one, which may have met a busy machine.
        moment = moments.uniform(0.0, 0.6 * calm.seconds) + (
            found[-1].create_time() if found else 0.0
        )
        while time.time() < moment and is_alive(run):
            time.sleep(0.02)
        if is_alive(run):
            kill(run)
            n_done += 1
        # It ended by itself, or the worker's late report of the last kill ended it.
        state = state_of(run, *ENDS, seconds=600)
        if state == "COMPLETED":
            return n_done
        assert state in ENDS, "the server never heard of the kill"
        retry(run)
    return n_done


def end_of(run) -> str:
    """Wait for the end of a run; retry one that was left as failed or crashed."""
    for _ in range(3):
        if (state := state_of(run, *ENDS)) == "COMPLETED":
            break
        assert awaited(lambda: not is_alive(run), 200)
        retry(run)
        state_of(run, "PENDING", "RUNNING", seconds=300)
    return state


def test_a_run_killed_at_random_moments_and_retried_ends_with_the_bytes_of_an_undisturbed_one(
    served, calm, tmp_path
):
    moments, n_kills, n_runs = random.Random(SEED), 0, 0
    while n_kills < N_KILLS:
        n_runs += 1
        config = calm.config.model_copy(update={"root_uri": str(tmp_path / f"run-{n_runs}")})
        run = served.start_run("pipeline", config)
        n_kills += killed_until_it_ends(run, calm, moments, N_KILLS - n_kills)
        assert end_of(run) == "COMPLETED"
        assert awaited(lambda run=run: not is_alive(run), 60)
        assert_whole(config)
        assert contents(config) == calm.contents
        print(f"{n_kills} kills, {n_runs} runs")


def test_a_run_paused_while_it_publishes_ends_with_the_bytes_of_an_undisturbed_one(
    served, calm, tmp_path
):
    config = calm.config.model_copy(update={"root_uri": str(tmp_path / "paused")})
    run = served.start_run("pipeline", config)
    stopped = pause_while_publishing(run, Path(config.root_uri))
    assert_whole(config)
    time.sleep(PAUSE_SECONDS)
    for process in stopped:
        process.send_signal(signal.SIGCONT)
    assert end_of(run) == "COMPLETED"
    assert awaited(lambda: not is_alive(run), 60)
    assert_whole(config)
    assert contents(config) == calm.contents


def pause_while_publishing(run, root: Path) -> list[psutil.Process]:
    """Send SIGSTOP to a run while a draft of it lies there."""
    assert awaited(lambda: is_alive(run), 120)
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and is_alive(run):
        if not any(root.glob(f"*/{PARTIAL}*")):
            time.sleep(0.002)
            continue
        processes = processes_of(run)
        for process in processes:
            process.suspend()
        if any(root.glob(f"*/{PARTIAL}*")):
            return processes
        for process in processes:
            process.resume()
    pytest.fail("nothing was ever being published")
