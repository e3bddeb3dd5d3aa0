"""Runs of deployments: their processes, their states, and what they published."""

import contextlib
from pathlib import Path

import psutil
from prefect.client.orchestration import get_client
from prefect.states import AwaitingRetry

from dskd_core.config import PipelineConfig
from dskd_core.store.artifacts import PARTIAL, ArtifactStore
from dskd_core.store.verification import verify
from tests.served import awaited

Contents = dict[tuple[str, str], str]
ENDS = ("COMPLETED", "FAILED", "CRASHED")


def contents(config: PipelineConfig) -> Contents:
    """Return the digest of every artifact but checkpoints, which come and go."""
    store = ArtifactStore(config.root_uri)
    stages = [path.name for path in Path(config.root_uri).iterdir() if path.name != "checkpoint"]
    return {(s, a.fingerprint): a.record.content for s in stages for a in store.of_stage(s)}


def assert_whole(config: PipelineConfig) -> None:
    """Check that whatever stands under its own name is whole; drafts of killed work may lie."""
    for folder in Path(config.root_uri).glob("*/*"):
        if not folder.name.startswith(PARTIAL):
            assert verify(str(folder)).problems == [], folder


def processes_of(run) -> list[psutil.Process]:
    """Return the processes of a run, whatever the server believes, the oldest first."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("PREFECT__FLOW_RUN_ID") == str(run):
                found.append(process)
    return sorted(found, key=lambda process: process.create_time())


def is_alive(run) -> bool:
    """Say whether a process of the run is there."""
    return bool(processes_of(run))


def state_of(run, *wanted: str, seconds: float = 1200) -> str:
    """Wait until the run is in one of the states; return it, or nothing.

    A run of 40 s on two free cores takes ten minutes where others use them too.
    """

    def ask() -> str:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(run).state.type.value
        return state if state in wanted else ""

    return awaited(ask, seconds)


def retry(run) -> None:
    """Let a worker take the run again, as the button of the UI does."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run, AwaitingRetry(), force=True)
