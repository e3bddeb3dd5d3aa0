"""Two runs, one GPU: they take turns, and a holder that was killed gives its turn back."""

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from itertools import pairwise

import pytest
from prefect import flow, get_client, task

from tasks.policy import GPU_LIMIT, gpu_slot
from tests.faults.lives import ROOT
from tests.served import awaited

pytestmark = [
    pytest.mark.xdist_group("prefect"),
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.timeout(400),
]

HOLDER = "from tasks.policy import gpu_slot\nimport time\nwith gpu_slot(): time.sleep(999)"


@task
def hold(turns: list[tuple[float, float]], seconds: float) -> None:
    """Note the begin and the end of a turn."""
    with gpu_slot():
        began = time.monotonic()
        time.sleep(seconds)
        turns.append((began, time.monotonic()))


@flow(validate_parameters=False)  # which would note turns in a copy of the list
def shards(turns: list[tuple[float, float]], seconds: float) -> None:
    """Hold the slot twice, as a run of two shards does."""
    for _ in range(2):
        hold(turns, seconds)


def slots_taken() -> int:
    with get_client(sync_client=True) as client:
        return client.read_global_concurrency_limit_by_name(GPU_LIMIT).active_slots


@contextmanager
def holder(environment: dict[str, str]):
    """A process that holds the slot until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER], cwd=ROOT, env=environment)
    try:
        assert awaited(slots_taken, 60) == 1
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_two_runs_on_one_slot_take_turns_and_both_complete():
    turns: list[tuple[float, float]] = []
    with ThreadPoolExecutor(2) as pool:
        # Each thread must know the server that this one talks to.
        contexts = [copy_context() for _ in range(2)]
        runs = [pool.submit(c.run, shards, turns, 0.5, return_state=True) for c in contexts]
    assert [run.result().name for run in runs] == ["Completed", "Completed"]
    turns.sort()
    assert len(turns) == 4
    assert all(end <= begin for (_, end), (begin, _) in pairwise(turns))
    assert slots_taken() == 0


@pytest.mark.slow
def test_the_slot_of_a_killed_holder_is_free_again_when_its_lease_has_expired(prefect_server):
    with holder(prefect_server.environment) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed = time.monotonic()
        assert slots_taken() == 1
        with gpu_slot():
            waited = time.monotonic() - killed
    # A lease lasts a minute; the server looks for expired ones every 15 s, and whoever waits asks
    # again at least every few.
    assert 20 < waited < 120
