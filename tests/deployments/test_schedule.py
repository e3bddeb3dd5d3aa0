"""The schedules come alive on a real server.

With SQLAlchemy 2.1 Prefect's scheduler never schedules and only the server's log says so, hence a
test that waits for scheduled runs.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect_server")]


def prefect(*arguments: str) -> None:
    settings = get_current_settings()
    environment = os.environ | {
        "PREFECT_API_URL": str(settings.api.url),
        "PREFECT_HOME": str(settings.home),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=120)


def test_cron_deployments_get_scheduled_runs():
    for pool in ("dskd-cpu", "dskd-gpu"):
        prefect("work-pool", "create", pool, "--type", "process", "--overwrite")
    prefect("deploy", "--all", "--prefect-file", "deployments/prefect.yaml")
    awaited = {"build-dictionary": 0, "rebuild-lexicon": 0}
    deadline = time.monotonic() + 60
    with get_client(sync_client=True) as client:
        names = {d.id: d.name for d in client.read_deployments()}
        assert set(awaited) < set(names.values())
        while time.monotonic() < deadline and not all(awaited.values()):
            time.sleep(1)
            runs = [run for run in client.read_flow_runs(limit=200) if run.state.is_scheduled()]
            awaited = {
                name: sum(names.get(run.deployment_id) == name for run in runs) for name in awaited
            }
    assert all(awaited.values()), awaited
