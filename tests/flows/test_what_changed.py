"""What a rebuild says that it did, and what it keeps to itself, read back from the server."""

import asyncio
import json
import os

import pytest
from prefect import flow, get_client, get_run_logger, task
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.context import FlowRunContext

from dskd_core.errors import ConfigError
from dskd_core.redaction import redacting
from dskd_core.store.artifacts import ArtifactStore, Work
from flows.build_dictionary import build_dictionary
from flows.deployment_steps import take_credentials
from flows.tidy import tidy
from tasks.artifacts import shown

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect_server")]
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCY"  # made up


def table(run_id, key: str) -> list[dict]:
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(
                key=ArtifactFilterKey(any_=[key]),
                flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]),
            )
        )
    return json.loads(found[0].data)


@pytest.mark.slow
def test_a_changed_lexicon_rebuilds_the_right_branch_and_the_join_alone(core, config):
    build_dictionary(config)
    core.made.clear()
    lexicon = config.lexicon.model_copy(update={"language": "fr"})
    state = build_dictionary(config.model_copy(update={"lexicon": lexicon}), return_state=True)
    assert core.made == ["lexicon", "relations", "words", "dictionary"]
    rows = table(state.state_details.flow_run_id, "summary")
    assert {row["stage"]: row["why"] for row in rows if row["state"] == "made"} == {
        "lexicon": "language en -> fr",
        "relations": "input_0 changed",
        "words": "input_0 changed",
        "dictionary": "input_1 changed",
    }
    found = [row["stage"] for row in rows if row["state"] == "found"]
    assert found == ["teacher", "corpus", "embeddings", "senses"]


def test_no_secret_reaches_logs_states_or_parameters_of_a_run(config, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)

    @task
    @redacting
    def fails() -> None:
        get_run_logger().info("the key is %s", SECRET)
        get_run_logger().info("and this is shown")

        def build(_):
            raise OSError(f"denied for {SECRET}")

        shown("leak", build)

    @flow(name="dskd-leak")
    def leaks() -> str:
        run = FlowRunContext.get().flow_run
        with pytest.raises(OSError, match="AWS_SECRET_ACCESS_KEY"):
            fails.submit().result()
        return str(run.id)

    run_id = leaks()
    with get_client(sync_client=True) as client:
        of_this_run = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
        mine = client.read_task_runs(flow_run_filter=of_this_run)
        states = [run.state.message or "" for run in mine]
    assert any("denied for [AWS_SECRET_ACCESS_KEY]" in message for message in states)
    assert not any(SECRET in message for message in states)
    lines = _logs(run_id)
    assert any("the key is [AWS_SECRET_ACCESS_KEY]" in line for line in lines)
    assert any("and this is shown" in line for line in lines)
    assert not any(SECRET in line for line in lines)


def _logs(run_id: str) -> list[str]:
    """Read a run's log when it has arrived: it is sent in batches."""
    import time

    chosen = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id]))
    for _ in range(60):
        with get_client(sync_client=True) as client:
            answer = client.request(
                "POST", "/logs/filter", json={"logs": chosen.model_dump(mode="json")}
            )
        lines = [entry["message"] for entry in answer.json()]
        if any("this is shown" in line for line in lines) and any("denied" in s for s in lines):
            return lines
        time.sleep(0.25)
    raise TimeoutError(f"The log never came; there is {lines}")


def test_a_sweep_shows_what_it_deleted_and_a_dry_run_deletes_nothing(config, tmp_path, monkeypatch):
    import tempfile

    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    store = ArtifactStore(config.root_uri)
    with store.publish(Work("senses", {}, {})) as draft:
        draft.write_json("x.json", 1)
    left = tmp_path / "artifacts" / "senses" / ".partial-0123456789abcdef-89abcdef"
    left.mkdir()
    (left / "file").write_bytes(b"x" * 2000)
    for path in (left / "file", left):
        os.utime(path, (0, 0))
    dry = tidy(config, dry_run=True)
    assert [(row["state"], row["size"]) for row in dry] == [("found", "2 kB")]
    assert left.exists()
    state = tidy(config, return_state=True)
    assert [row["state"] for row in table(state.state_details.flow_run_id, "garbage")] == [
        "deleted"
    ]
    assert not left.exists()
    assert len(store.of_stage("senses")) == 1


@pytest.fixture
def secret_block(monkeypatch):
    """Save a value as the block a worker is told of; return how."""
    from prefect.blocks.system import Secret

    for name in ("DSKD_SECRETS", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("DSKD_SECRETS", "dskd-test")
    return lambda value: Secret(value=value).save("dskd-test", overwrite=True, _sync=True)


def test_a_worker_takes_its_credentials_from_a_block(secret_block):
    secret_block(json.dumps({"AWS_SECRET_ACCESS_KEY": SECRET}))

    async def as_a_pull_step() -> None:
        take_credentials()

    asyncio.run(as_a_pull_step())
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == SECRET


@pytest.mark.parametrize("value", [SECRET, json.dumps({"PATH": SECRET}), json.dumps([SECRET])])
def test_a_block_of_anything_else_is_refused_without_its_value(secret_block, value):
    secret_block(value)
    with pytest.raises(ConfigError, match="'dskd-test' is no JSON object") as told:
        take_credentials()
    assert SECRET not in str(told.value)


def test_the_server_refuses_credentials_before_it_keeps_them():
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.utilities.callables import parameter_schema

    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(build_dictionary)
        deployment = client.create_deployment(
            flow_id,
            "for-this-test",
            parameter_openapi_schema=parameter_schema(build_dictionary).model_dump_for_openapi(),
            enforce_parameter_schema=True,
        )
        client.create_flow_run_from_deployment(deployment, parameters={"config": {}})
        config = {"root_uri": f"s3://key:{SECRET.replace('/', 'x')}@host/bucket"}
        with pytest.raises(PrefectHTTPStatusError, match="a text without credentials") as refused:
            client.create_flow_run_from_deployment(deployment, parameters={"config": config})
        assert "key:" not in str(refused.value)
        client.delete_deployment(deployment)
