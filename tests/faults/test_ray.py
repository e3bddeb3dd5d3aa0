"""A real Ray cluster of one node that holds two processors and one stand-in GPU."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dskd_core.store.artifacts import ArtifactStore
from flows.pipeline import pipeline
from tests.faults.lives import ROOT
from tests.miniature import make
from tests.served import awaited

pytest.importorskip("prefect_ray", reason="pip install 'dskd[ray]' for the tests on Ray")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("prefect"),
    pytest.mark.usefixtures("prefect_server"),
]


def free_ports(n_ports: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(n_ports)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def end(process: subprocess.Popen) -> None:
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()


@pytest.fixture
def head(tmp_path) -> Iterator[str]:
    """The address of a Ray head."""
    port, client_port = free_ports(2)
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    command += ["--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=2", "--num-gpus=1"]
    command += [f"--ray-client-server-port={client_port}", "--include-dashboard=false"]
    # The sockets' names must be shorter than pytest's folders are.
    with (
        tempfile.TemporaryDirectory(prefix="ray") as place,
        (tmp_path / "ray.log").open("w") as log,
    ):
        process = subprocess.Popen(
            [*command, f"--temp-dir={place}", "--disable-usage-stats"],
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            assert awaited(lambda: answers(client_port), 120), (tmp_path / "ray.log").read_text()
            yield f"ray://127.0.0.1:{client_port}"
        finally:
            end(process)


def contents(root_uri: str) -> dict[tuple[str, str], str]:
    store = ArtifactStore(root_uri)
    stages = sorted(path.name for path in Path(root_uri).iterdir() if path.name != "checkpoint")
    return {(s, a.fingerprint): a.record.content for s in stages for a in store.of_stage(s)}


def test_a_pipeline_on_ray_makes_the_bytes_of_threads(tmp_path, head, monkeypatch):
    config = make(tmp_path, evaluation={"arms": ["kd", "paper"], "seeds": [0], "n_resamples": 20})
    pipeline(config)
    monkeypatch.setenv("DSKD_RUNNER", "ray")
    monkeypatch.setenv("DSKD_RAY_ADDRESS", head)
    on_ray = config.model_copy(update={"root_uri": str(tmp_path / "ray")})

    made = pipeline(on_ray)

    assert len(made.students) == 2
    assert contents(on_ray.root_uri) == contents(config.root_uri)
