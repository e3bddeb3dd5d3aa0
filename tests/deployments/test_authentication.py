"""A server with a password: strangers are refused, our own programs are not; failures are told."""

import base64
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
from prefect.client.orchestration import get_client
from prefect.states import Completed, Failed, Scheduled
from prefect.types._datetime import now

from tests.served import awaited, serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("prefect"),
    pytest.mark.timeout(600),
]

ROOT = Path(__file__).parents[2]
PASSWORD = "somebody:a long one"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """The server as ``PREFECT_SERVER_API_AUTH_STRING=... make serve`` starts it."""
    words = {"PREFECT_SERVER_API_AUTH_STRING": PASSWORD, "PREFECT_API_AUTH_STRING": PASSWORD}
    with serving(tmp_path_factory.mktemp("guarded"), **words) as served:
        yield served


@pytest.fixture
def listener():
    """An address that remembers what is posted to it."""
    heard = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}/hook", heard=heard)
    server.shutdown()
    server.server_close()


def answer(url: str, password: str | None) -> int:
    request = urllib.request.Request(url)
    if password:
        token = base64.b64encode(password.encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


def test_a_request_needs_the_password(guarded):
    url = f"{guarded.api_url}/admin/version"
    assert answer(url, None) == 401
    assert answer(url, "somebody:else") == 401
    assert answer(url, PASSWORD) == 200
    # What make serve and a load balancer ask tells nobody anything.
    assert answer(f"{guarded.api_url}/health", None) == 200


def test_the_command_line_needs_the_password(guarded):
    assert "dskd/train" in guarded.prefect("deployment", "ls")
    nobody = {k: v for k, v in guarded.environment.items() if "AUTH_STRING" not in k}
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deployment", "ls"]
    refused = subprocess.run(command, env=nobody, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "401" in refused.stdout + refused.stderr


def test_worker_flow_and_automations_know_the_password(guarded):
    with get_client(sync_client=True) as client:
        names = {d.id: d.name for d in client.read_deployments()}
        train = client.read_deployment_by_name("dskd/train")
        config = train.parameters["config"] | {"root_uri": "ftp://elsewhere"}
        later = Scheduled(scheduled_time=now("UTC").add(days=1))
        run = client.create_flow_run_from_deployment(
            train.id, parameters={"config": config}, state=later
        )
        client.set_flow_run_state(run.id, Completed(), force=True)

        def evaluated():
            runs = [r for r in client.read_flow_runs() if names.get(r.deployment_id) == "evaluate"]
            return next((r for r in runs if r.state.is_final()), None)

        # The automation started it, the worker took it, the flow reported why it failed.
        assert "give a folder or an s3:// prefix" in awaited(evaluated, 200).state.message


def test_a_failed_run_is_told_to_the_address_given_at_registration(guarded, listener):
    guarded.call(str(ROOT / "infra/register.py"), DSKD_NOTIFY_URL=listener.url)
    with get_client(sync_client=True) as client:
        train = client.read_deployment_by_name("dskd/train")
        later = Scheduled(scheduled_time=now("UTC").add(days=1))
        run = client.create_flow_run_from_deployment(train.id, state=later, name="unlucky")
        client.set_flow_run_state(run.id, Failed(message="no space left"), force=True)
        assert awaited(lambda: listener.heard, 30)
        [text] = [message["text"] for message in listener.heard]
        assert text.startswith("dskd: unlucky is Failed\nno space left\nhttp://")
        assert str(run.id) in text
        # The address is a secret of the block: the API gives it away to nobody who does not ask.
        block = client.read_block_document_by_name(
            "dskd-notifications", "custom-webhook", include_secrets=False
        )
    assert listener.url not in str(block.data)


def test_the_password_is_in_no_log(guarded):
    logs = {path.name: path.read_text("utf-8") for path in (guarded.work / "serve").glob("*.log")}
    assert len(logs) == 3
    assert not [name for name, text in logs.items() if "a long one" in text]
    assert os.environ.get("PREFECT_API_AUTH_STRING") is None
