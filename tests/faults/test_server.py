"""Server, worker and flow killed while a deployment runs: the bytes of an undisturbed run."""

import time
from pathlib import Path

import pytest

from dskd_core.config import PipelineConfig
from dskd_core.store.artifacts import ArtifactStore
from tests.faults.deployed import Contents, contents, is_alive, state_of
from tests.miniature import make
from tests.served import Served, awaited, serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("prefect"),
    pytest.mark.timeout(1800),
]

ABSENCE_SECONDS = 90


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Served:
    folder = tmp_path_factory.mktemp("served")
    with serving(folder, DSKD_ROOTS=str(tmp_path_factory.getbasetemp())) as served:
        yield served


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> PipelineConfig:
    """Seven shards and two students, each of 64 steps: time enough to be killed in."""
    return make(
        tmp_path_factory.mktemp("server"),
        embeddings={"shard_tokens": 120},
        evaluation={"arms": ["kd", "paper"], "seeds": [0], "n_resamples": 20},
        training={"n_epochs": 4.0, "checkpoint_steps": 10},
    )


@pytest.fixture(scope="module")
def calm(settings, served) -> Contents:
    """What an undisturbed run makes."""
    run = served.start_run("pipeline", settings)
    assert state_of(run, "COMPLETED")
    return contents(settings)


@pytest.fixture
def disturbed(settings, tmp_path) -> PipelineConfig:
    """The same settings under a root of their own."""
    return settings.model_copy(update={"root_uri": str(tmp_path / "disturbed")})


def written(config: PipelineConfig, stage: str) -> dict[str, int]:
    """Say when every artifact of a stage got its record, in nanoseconds."""
    records = Path(config.root_uri, stage).glob("[!.]*/record.json")
    return {path.parent.name: path.stat().st_mtime_ns for path in records}


def in_training(config: PipelineConfig) -> bool:
    return bool(ArtifactStore(config.root_uri).of_stage("checkpoint"))


def test_a_run_whose_server_is_killed_and_restarted_ends_with_the_same_bytes(
    served, calm, disturbed
):
    run = served.start_run("pipeline", disturbed)
    assert awaited(lambda: in_training(disturbed), 200)
    served.kill("server")
    time.sleep(3)
    served.run("start")
    state = state_of(run, "COMPLETED", "FAILED", "CRASHED")
    if state != "COMPLETED":
        served.prefect("flow-run", "retry", str(run))
        assert state_of(run, "COMPLETED")
    assert contents(disturbed) == calm


def test_a_run_whose_server_is_gone_for_90_seconds_ends_with_the_same_bytes_and_no_shard_twice(
    served, calm, disturbed
):
    run = served.start_run("build-dictionary", disturbed)
    assert awaited(lambda: len(written(disturbed, "embeddings-shard")) >= 2, 200)
    served.kill("server")
    time.sleep(ABSENCE_SECONDS)
    kept = written(disturbed, "embeddings-shard")
    assert len(kept) < 7
    served.run("start")
    # The server has not heard of the run for so long that it may take it for dead; seen both ways.
    if state_of(run, "COMPLETED", "FAILED", "CRASHED") != "COMPLETED":
        assert awaited(lambda: not is_alive(run), 400)
        served.prefect("flow-run", "retry", str(run))
        assert state_of(run, "COMPLETED")
    made = contents(disturbed)
    assert made.items() <= calm.items()
    assert "dictionary" in {stage for stage, _ in made}
    assert kept.items() <= written(disturbed, "embeddings-shard").items()


def test_a_run_whose_worker_and_flow_are_killed_crashes_and_its_retry_ends_with_the_same_bytes(
    served, calm, disturbed
):
    run = served.start_run("pipeline", disturbed)
    assert awaited(lambda: in_training(disturbed), 200)
    served.kill("worker-dskd-gpu")
    assert contents(disturbed) != calm
    # The last sign of life is at most 30 s old; 90 s of silence are a death.
    assert state_of(run, "CRASHED", seconds=180)
    served.run("start")
    served.prefect("flow-run", "retry", str(run))
    assert state_of(run, "COMPLETED")
    assert contents(disturbed) == calm
