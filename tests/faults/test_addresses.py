"""The clusters of docs/workers.md, by its own commands: who reaches them, and who may use them."""

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.faults.ends import Listeners
from tests.faults.lives import ROOT
from tests.served import awaited

pytest.importorskip("prefect_dask")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PAGE = (ROOT / "docs/workers.md").read_text("utf-8")
ASK = """
import sys
from distributed import Client
with Client(sys.argv[1], timeout=20) as client:
    print(client.submit(lambda: 6 * 7).result(timeout=100))
"""


def blocks(language: str, word: str) -> list[str]:
    """Return the page's blocks of code that hold a word."""
    return [b for b in re.findall(rf"```{language}\n(.*?)```", PAGE, re.S) if word in b]


class Cluster:
    """The scheduler and the first worker of a block of the page."""

    def __init__(self, folder: Path, block: str, **variables: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = str(probe.getsockname()[1])
        self.environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
        self.logs = [folder / "scheduler.log", folder / "worker.log"]
        lines = [re.sub(r"^(\w+=\S+ )+", "", line) for line in block.splitlines()]
        first = [next(n for n in lines if n.startswith(f"dask {w}")) for w in ("scheduler", "wor")]
        self.processes = [self._start(*each) for each in zip(first, self.logs, strict=True)]

    def _start(self, command: str, log: Path) -> subprocess.Popen:
        here = {"8786": self.port, "8787": "0", "gpu1": "127.0.0.1", "eth1": "lo"}
        for theirs, ours in here.items():
            command = command.replace(theirs, ours)
        return subprocess.Popen(
            [sys.executable, "-m", *shlex.split(command)],
            env=self.environment,
            cwd=log.parent,
            stdout=log.open("w"),
            stderr=subprocess.STDOUT,
        )

    def ask(self, protocol: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Have the cluster compute something, as whoever reaches it may try."""
        command = [sys.executable, "-c", ASK, f"{protocol}://127.0.0.1:{self.port}"]
        return subprocess.run(
            command, env=os.environ | variables, capture_output=True, text=True, check=False
        )

    def is_up(self) -> bool:
        return "Registered to" in self.logs[1].read_text()

    def end(self) -> None:
        for process in self.processes[::-1]:
            family = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.wait()
            for member in family:
                member.kill()


@pytest.fixture
def started(tmp_path) -> Iterator:
    clusters = []

    def start(block: str, **variables: str) -> Cluster:
        clusters.append(Cluster(tmp_path, block, **variables))
        up = awaited(clusters[-1].is_up, 120)
        assert up, [log.read_text()[-2000:] for log in clusters[-1].logs]
        return clusters[-1]

    yield start
    for cluster in clusters:
        cluster.end()


def assert_on_loopback(cluster: Cluster) -> None:
    for process in cluster.processes:
        listeners = Listeners(psutil.Process(process.pid))
        listeners.look()
        assert listeners.addresses
        assert listeners.beyond() == set()


def test_a_cluster_on_one_machine_listens_on_loopback_alone(started):
    [block] = blocks("sh", "dask worker tcp://")
    cluster = started(block)
    assert_on_loopback(cluster)
    assert cluster.ask("tcp").stdout == "42\n", "whoever reaches it runs code: what the page says"


def test_a_cluster_with_certificates_serves_those_who_have_one_on_the_interface_named(
    started, tmp_path
):
    [openssl], [settings] = blocks("sh", "openssl"), blocks("yaml", "require-encryption")
    subprocess.run(openssl, shell=True, cwd=tmp_path, check=True, capture_output=True)
    file = tmp_path / "dask.yaml"
    file.write_text(settings.replace("/etc/dskd", str(tmp_path)), "utf-8")
    [block] = blocks("sh", "dask worker tls://")

    cluster = started(block, DASK_CONFIG=str(file))

    assert_on_loopback(cluster)
    assert cluster.ask("tls", DASK_CONFIG=str(file)).stdout == "42\n"
    for stranger in (cluster.ask("tls"), cluster.ask("tcp")):
        assert stranger.returncode
        assert stranger.stdout == ""
