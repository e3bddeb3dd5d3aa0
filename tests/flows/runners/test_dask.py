"""What the runner asks of a cluster, of a stand-in for one; tests/faults has a real one."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from prefect.exceptions import TerminationSignal

from dskd_core import interruption
from dskd_core.config import PipelineConfig
from dskd_core.errors import ConfigError

dask = pytest.importorskip("dask")
pytest.importorskip("prefect_dask")

from flows.runners import dask as dask_runner  # noqa: E402
from tasks import whole  # noqa: E402
from tasks.sharded import TASKS  # noqa: E402

GPU_TASK, CPU_TASK = TASKS["embeddings"].make, whole.lexicon


class Sent:
    """What a client is given for a task."""

    def __init__(self, key: str) -> None:
        self.key = key


class Cluster:
    """A client of two workers, of which one still works on ``shard-1`` for two looks."""

    def __init__(self, folder: Path = Path(), gpus: float = 0.0) -> None:
        self.folder, self.gpus = folder, gpus
        self.told: list = []
        self.working = [{"shard-1"}, {"shard-1", "of another run"}, {"of another run"}]

    def scheduler_info(self):
        return {"workers": {"a": {"resources": {}}, "b": {"resources": {"GPU": self.gpus}}}}

    def run(self, function, *args, on_error="raise"):
        if function == Path.cwd:
            return {"a": self.folder}
        if function is dask_runner._executing:
            return {"a": self.working.pop(0), "b": set()}
        self.told.append((function, *args))
        return {}

    def cancel(self, futures):
        self.told.append(("cancel", sorted(future.key for future in futures)))


@pytest.fixture
def runner(monkeypatch):
    """A runner whose tasks note the annotations they were sent under."""
    sent = []

    def submit(self, task, parameters, *args, **kwargs):
        sent.append((task.name, dask.get_annotations(), Sent(f"shard-{len(sent)}")))
        return SimpleNamespace(wrapped_future=sent[-1][2])

    monkeypatch.setattr(dask_runner.DaskTaskRunner, "submit", submit)
    monkeypatch.setattr(dask_runner, "_POLL_SECONDS", 0.0)
    runner = dask_runner.GpuDask("tcp://127.0.0.1:8786", 4)
    runner._client, runner.sent = Cluster(Path.cwd(), 1.0), sent
    return runner


def test_only_a_task_of_the_gpu_takes_a_gpu(runner):
    for task in (GPU_TASK, CPU_TASK):
        runner.submit(task, {})
    needs = [(name, annotations) for name, annotations, _ in runner.sent]
    assert needs == [("embeddings", {"resources": {"GPU": 1}}), ("lexicon", {})]
    assert dask.get_annotations() == {}


def test_a_cluster_without_a_gpu_is_told_once(runner, monkeypatch):
    said = []
    logger = SimpleNamespace(warning=said.append)
    monkeypatch.setattr(dask_runner, "get_run_logger", lambda: logger)
    runner._client.gpus = 0.0
    for task in (CPU_TASK, GPU_TASK, GPU_TASK):
        runner.submit(task, {})
    assert len(said) == 1
    assert "embeddings waits until one does: dask worker tcp://127.0.0.1:8786 --res" in said[0]


def test_a_relative_root_is_refused_where_a_worker_stands_elsewhere(runner, tmp_path):
    runner._client.folder = tmp_path
    runner.submit(CPU_TASK, {"config": PipelineConfig(root_uri=str(tmp_path / "artifacts"))})
    runner._run = ""
    runner.submit(CPU_TASK, {"config": PipelineConfig(root_uri="s3://bucket/dskd")})
    runner._run = ""
    with pytest.raises(ConfigError, match=rf"'work/artifacts' is relative.*{tmp_path}, not in"):
        runner.submit(CPU_TASK, {"config": PipelineConfig()})
    runner._client.folder = Path.cwd()
    runner.submit(CPU_TASK, {"config": PipelineConfig()})


def test_a_run_told_to_end_stops_its_own_tasks_and_waits_for_those_under_way(runner):
    futures = [runner.submit(GPU_TASK, {}) for _ in range(3)]
    cluster, runner._run = runner._client, "the run"
    with runner:
        pass
    assert cluster.told == [], "a run that ends by itself cancels nothing"
    runner.__enter__()
    runner.__exit__(TerminationSignal, TerminationSignal(15), None)
    assert cluster.told == [
        (interruption.request, "the run"),
        ("cancel", ["shard-0", "shard-1", "shard-2"]),
        (interruption.clear, "the run"),
    ]
    assert cluster.working == [], "it looked until shard-1 had ended"
    assert len(futures) == 3


def test_a_duplicate_has_the_same_address_and_slots(runner):
    other = runner.duplicate()
    assert (other.address, other.n_slots) == ("tcp://127.0.0.1:8786", 4)
