"""``make serve`` on a real server: schedules come alive, workers run, stopping ends its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError

from tests.faults.ends import Listeners
from tests.served import awaited

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.xdist_group("prefect")


def test_cron_deployments_get_scheduled_runs(prefect_server):
    # With SQLAlchemy 2.1 the scheduler never schedules, and only the server's log says so.
    with get_client(sync_client=True) as client:
        names = {deployment.id: deployment.name for deployment in client.read_deployments()}
        assert set(names.values()) >= {"train", "evaluate", "pipeline"}

        def scheduled():
            runs = [run for run in client.read_flow_runs(limit=200) if run.state.is_scheduled()]
            found = {names.get(run.deployment_id) for run in runs}
            return found >= {"build-dictionary", "rebuild-lexicon"}

        assert awaited(scheduled)


def test_server_and_workers_listen_on_loopback_alone(prefect_server):
    for name in ("server", "worker-dskd-cpu", "worker-dskd-gpu"):
        listeners = Listeners(prefect_server.process(name))
        listeners.look()
        assert listeners.processes
        assert listeners.addresses or name != "server"
        assert listeners.beyond() == set()


def test_a_deployment_runs_in_the_workers_own_folder_and_a_refusal_reaches_the_ui(prefect_server):
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("dskd/rebuild-lexicon")
        config = deployment.parameters["config"] | {"root_uri": "ftp://elsewhere"}
        run = client.create_flow_run_from_deployment(deployment.id, parameters={"config": config})
        state = awaited(
            lambda: (s := client.read_flow_run(run.id).state).is_final() and s, seconds=120
        )
    assert state.is_failed()
    assert "give a folder or an s3:// prefix" in state.message


def test_a_parameter_that_no_flow_has_is_refused_by_the_server_and_not_repeated(prefect_server):
    with get_client(sync_client=True) as client:
        for deployment in client.read_deployments():
            for name in ("s3://me:of-nobody@host", "sconfig"):
                with pytest.raises(PrefectHTTPStatusError, match="no parameter but config") as told:
                    client.create_flow_run_from_deployment(deployment.id, parameters={name: "x"})
                assert name not in told.value.response.text
    assert len(deployment.parameters) == 1, "and they have their own parameters still"


def test_stopping_spares_a_process_that_only_has_the_same_number(tmp_path):
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (tmp_path / "serve").mkdir()
    memory = {"pid": stranger.pid, "created": psutil.Process(stranger.pid).create_time() - 3600}
    (tmp_path / "serve/server.json").write_text(json.dumps(memory))
    try:
        stop(tmp_path)
        assert stranger.poll() is None
        assert not (tmp_path / "serve/server.json").exists()
    finally:
        stranger.kill()
        stranger.wait()


def test_stopping_ends_a_process_that_ignores_sigterm(tmp_path):
    code = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    )
    deaf = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    deaf.stdout.readline()
    (tmp_path / "serve").mkdir()
    memory = {"pid": deaf.pid, "created": psutil.Process(deaf.pid).create_time()}
    (tmp_path / "serve/worker-dskd-gpu.json").write_text(json.dumps(memory))
    stop(tmp_path, DSKD_STOP_SECONDS="1")
    assert deaf.wait(timeout=10) == -9


def stop(work, **variables) -> None:
    environment = os.environ | {"DSKD_WORK": str(work), **variables}
    command = [sys.executable, str(ROOT / "infra/serve.py"), "stop"]
    subprocess.run(command, env=environment, check=True, timeout=60)
