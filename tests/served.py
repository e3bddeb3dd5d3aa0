"""What ``make serve`` starts, in a folder of its own and at a free port."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import psutil

ROOT = Path(__file__).parents[1]
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Served:
    """A server with pools, workers and deployments."""

    api_url: str
    work: Path
    environment: dict[str, str]

    def run(self, command: str) -> str:
        """Call ``infra/serve.py`` and return what it prints."""
        return self.call(str(ROOT / "infra/serve.py"), command)

    def prefect(self, *arguments: str) -> str:
        """Call Prefect's command line as a person beside the server would."""
        return self.call("-m", "prefect", "--no-prompt", *arguments)

    def call(self, *arguments: str, **variables: str) -> str:
        """Run Python with these arguments and return what it prints."""
        done = subprocess.run(
            [sys.executable, *arguments],
            env=self.environment | variables,
            capture_output=True,
            text=True,
            timeout=float(self.environment.get("DSKD_START_SECONDS", "240")) + 50,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def process(self, name: str) -> psutil.Process:
        """Return the process remembered as ``name``."""
        memory = json.loads((self.work / f"serve/{name}.json").read_text())
        return psutil.Process(memory["pid"])

    def kill(self, name: str) -> None:
        """Send SIGKILL to a process and all it started, as a host's death does."""
        process = self.process(name)
        family = [*process.children(recursive=True), process]
        for member in family:
            member.kill()
        psutil.wait_procs(family, timeout=10)

    def start_run(self, deployment: str, config) -> UUID:
        """Start a run of a deployment with settings of ours."""
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            found = client.read_deployment_by_name(f"dskd/{deployment}")
            parameters = {"config": config.model_dump(mode="json")}
            return client.create_flow_run_from_deployment(found.id, parameters=parameters).id


@contextmanager
def serving(work: Path, **variables: str) -> Iterator[Served]:
    """Start a server for as long as the block lasts; half a minute or more.

    Inside the block Prefect's client in this process talks to it, with its password if need be.
    """
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    url = f"http://127.0.0.1:{port}/api"
    ours = {"DSKD_PORT": port, "DSKD_WORK": str(work), "PYTHONPATH": str(ROOT)}
    ours |= {"PREFECT_API_URL": url}
    served = Served(url, work, os.environ | ours | variables)
    try:
        served.run("start")
        password = variables.get("PREFECT_API_AUTH_STRING")
        with temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: password}):
            yield served
    finally:
        served.run("stop")


def awaited(ask: Callable[[], Answer], seconds: float = 60) -> Answer:
    """Ask until the answer is true, or time is up; return the last answer."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()) and time.monotonic() < deadline:
        time.sleep(0.5)
    return answer
