"""What travels to a Dask cluster with a task, and what a worker has of its own."""

import cloudpickle
import pytest
from prefect.context import FlowRunContext, hydrated_context, serialize_context
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_KEY,
    PREFECT_API_URL,
    PREFECT_CLIENT_CUSTOM_HEADERS,
    get_current_settings,
    temporary_settings,
)

from dskd_core.config import PipelineConfig
from flows.runners.worker_settings import without_secrets
from tasks import whole

OURS = "http://127.0.0.1:4999/api"
SECRETS = {
    PREFECT_API_KEY: "pnu_key-of-the-flow",
    PREFECT_API_AUTH_STRING: "flow:password-of-the-flow",
    PREFECT_CLIENT_CUSTOM_HEADERS: {"X-Proxy": "header-of-the-flow"},
}


@pytest.fixture
def sent(monkeypatch):
    """The bytes that Dask's client is given for a task, as it pickles them."""
    distributed = pytest.importorskip("distributed")
    prefect_dask = pytest.importorskip("prefect_dask")
    from flows.runners import dask

    pickles = []

    class Future:
        key = "of a task"

    def submit(self, function, *args, **kwargs):
        pickles.append(cloudpickle.dumps((function, args, kwargs)))
        return Future()

    monkeypatch.setattr(distributed.Client, "submit", submit)
    client = object.__new__(prefect_dask.client.PrefectDaskClient)
    runner = dask.GpuDask("tcp://127.0.0.1:8786")
    monkeypatch.setattr(runner, "_started", True, raising=False)
    runner._client, runner._run = client, "known"
    yield runner, pickles
    runner._client = None


def test_a_task_is_sent_with_the_address_and_without_a_secret(sent):
    runner, pickles = sent
    with temporary_settings({PREFECT_API_URL: OURS} | SECRETS):
        runner.submit(whole.lexicon, {"config": PipelineConfig(root_uri="/data")})
        plain = cloudpickle.dumps(serialize_context())
    assert OURS.encode() in pickles[0]
    assert b"of-the-flow" in plain, "Prefect by itself sends them; else this test shows nothing"
    assert b"of-the-flow" not in pickles[0]
    assert FlowRunContext.get() is None


def test_a_worker_has_its_own_key_and_the_address_of_the_flow():
    with temporary_settings({PREFECT_API_URL: OURS} | SECRETS), without_secrets():
        assert get_current_settings().api.key.get_secret_value() == "pnu_key-of-the-flow"
        pickled = cloudpickle.dumps(serialize_context())
    assert b"of-the-flow" not in pickled
    passed_on = cloudpickle.dumps(cloudpickle.loads(pickled))  # as a scheduler does
    own = {PREFECT_API_KEY: "pnu_key-of-the-worker", PREFECT_API_URL: "http://127.0.0.1:1/api"}
    with temporary_settings(own):
        assert b"of-the-worker" not in cloudpickle.dumps(cloudpickle.loads(pickled))
        with hydrated_context(cloudpickle.loads(passed_on)):
            settings = get_current_settings()
            assert settings.api.url == OURS
            assert settings.api.key.get_secret_value() == "pnu_key-of-the-worker"
            assert settings.api.auth_string is None
