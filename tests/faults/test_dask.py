"""A real Dask cluster of two workers that hold one stand-in GPU each."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
from prefect import get_client

from dskd_core.store.artifacts import ArtifactStore
from flows.build_dictionary import build_dictionary
from tasks.policy import GPU_LIMIT
from tests.faults.lives import ROOT
from tests.miniature import Built, make

pytest.importorskip("prefect_dask")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("prefect"),
    pytest.mark.usefixtures("prefect_server"),
]

N_WORKERS = 2


@dataclass
class Cluster:
    """A scheduler and its workers, each a process of its own, and what they wrote down."""

    folder: Path
    address: str = ""
    processes: list[subprocess.Popen] = field(default_factory=list)

    def start(self, *command: str) -> subprocess.Popen:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *command],
            env=environment | {"DSKD_WATCH": str(self.folder)},
            cwd=self.folder,
            stdout=(self.folder / f"{command[0]}-{len(self.processes)}.log").open("w"),
            stderr=subprocess.STDOUT,
        )
        self.processes.append(process)
        return process

    def intervals(self) -> dict[int, list[tuple[float, float, str, int]]]:
        """Return process -> begin, end, name and models loaded of all it ran, by begin."""
        found = {}
        for path in self.folder.glob("[0-9]*.txt"):
            rows = [line.split("\t") for line in path.read_text().splitlines()]
            found[int(path.stem)] = sorted((float(b), float(e), n, int(m)) for n, b, e, m in rows)
        return found


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Iterator[Cluster]:
    from distributed import Client

    folder = tmp_path / "cluster"
    folder.mkdir()
    cluster, place = Cluster(folder), folder / "scheduler.json"
    loopback = ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0")
    scheduler = (*loopback, "--port", "0")
    scheduler += ("--preload", "flows.pipeline")  # else it stands still when the first task comes
    try:
        cluster.start("scheduler", *scheduler, "--scheduler-file", str(place))
        for _ in range(N_WORKERS):
            cluster.start(
                *("worker", "--scheduler-file", str(place), "--no-nanny", "--nthreads", "2"),
                *("--resources", "GPU=1", *loopback),
                *("--preload", "tests.faults.worker_watch"),
            )
        with Client(scheduler_file=str(place), timeout=250, set_as_default=False) as client:
            client.wait_for_workers(N_WORKERS, timeout=250)
            cluster.address = client.scheduler.address
        monkeypatch.setenv("DSKD_RUNNER", "dask")
        monkeypatch.setenv("DSKD_DASK_ADDRESS", cluster.address)
        limit_gpus(N_WORKERS)
        yield cluster
        limit_gpus(1)
    finally:
        for process in reversed(cluster.processes):
            process.kill()
            process.wait()


def limit_gpus(n_gpus: int) -> None:
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(GPU_LIMIT, n_gpus)


def contents(root_uri: str) -> dict[tuple[str, str], str]:
    store = ArtifactStore(root_uri)
    stages = sorted(path.name for path in Path(root_uri).iterdir())
    return {(s, a.fingerprint): a.record.content for s in stages for a in store.of_stage(s)}


def kill_when_it_hangs(folder: Path) -> None:
    deadline = time.monotonic() + 800
    while time.monotonic() < deadline:
        if (folder / "hangs").exists() and (pid := (folder / "hangs").read_text()):
            os.kill(int(pid), signal.SIGKILL)
            return
        time.sleep(0.1)


def test_a_killed_workers_shard_is_run_elsewhere_and_the_bytes_are_those_of_one_process(
    tmp_path, cluster
):
    config = make(tmp_path)
    (cluster.folder / "hang").write_text("extract_shard 1-of-3")
    killer = threading.Thread(target=kill_when_it_hangs, args=[cluster.folder], daemon=True)
    killer.start()

    made = build_dictionary(config)

    killer.join(1)
    victim = int((cluster.folder / "hangs").read_text())
    assert [p.poll() for p in cluster.processes].count(-signal.SIGKILL) == 1
    ran = cluster.intervals()
    survivor = next(pid for pid in ran if pid != victim)
    assert "extract_shard 1-of-3" in [name for _, _, name, _ in ran[survivor]]
    for rows in ran.values():
        for (_, end, *_), (begin, *_) in pairwise(rows):
            assert end <= begin, "two tasks had one GPU"
    extractions = [row for rows in ran.values() for row in rows if row[2].startswith("extract")]
    assert {loads for *_, loads in extractions} <= {0, 1}, "the teacher is loaded once a process"
    single = config.model_copy(update={"root_uri": str(tmp_path / "single")})
    assert Built(single).dictionary().fingerprint == made.dictionary.rpartition("/")[2]
    assert contents(config.root_uri) == contents(single.root_uri)
