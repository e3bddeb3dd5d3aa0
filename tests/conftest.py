"""Fixtures that several folders share."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from dskd_core.config import PipelineConfig
from tests.miniature import Built, make

ROOT = Path(__file__).parents[1]

# Two test processes on two cores: more threads than one each only wait for one another.
torch.set_num_threads(1)


@dataclass(frozen=True)
class Served:
    """What ``make serve`` started, in a folder of its own."""

    api_url: str
    work: Path
    environment: dict[str, str]

    def run(self, command: str) -> str:
        """Call ``infra/serve.py`` and return what it prints."""
        done = subprocess.run(
            [sys.executable, str(ROOT / "infra/serve.py"), command],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=290,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory) -> Iterator[Served]:
    """A real server with pools, workers and deployments; half a minute, once."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    work = tmp_path_factory.mktemp("work")
    variables = {"DSKD_PORT": port, "DSKD_WORK": str(work), "PYTHONPATH": str(ROOT)}
    served = Served(f"http://127.0.0.1:{port}/api", work, os.environ | variables)
    try:
        served.run("start")
        with temporary_settings({PREFECT_API_URL: served.api_url}):
            yield served
    finally:
        served.run("stop")


@pytest.fixture
def config(tmp_path) -> PipelineConfig:
    """Settings whose artifacts lie in the test's own folder."""
    return PipelineConfig(root_uri=str(tmp_path / "artifacts"))


@pytest.fixture(scope="session")
def miniature(tmp_path_factory) -> "Built":
    """A miniature whose artifacts are made once a session; tests must not change them."""
    return Built(make(tmp_path_factory.mktemp("miniature")))
