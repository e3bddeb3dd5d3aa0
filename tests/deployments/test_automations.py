"""infra/automations.yaml and the trigger of evaluate: what the server does by itself."""

from pathlib import Path

import pytest
import yaml
from prefect.cli.deploy._triggers import _initialize_deployment_triggers
from prefect.client.orchestration import get_client
from prefect.events.schemas.automations import AutomationCore
from prefect.states import Completed, Scheduled
from prefect.types._datetime import now

from flows.flow import DEFAULTS
from flows.train import train as train_flow
from tests.served import awaited

ROOT = Path(__file__).parents[2]
AUTOMATIONS = {
    a["name"]: a
    for a in yaml.safe_load((ROOT / "infra/automations.yaml").read_text())["automations"]
}
DEAD, TELL = "dskd: runs of dead hosts crash", "dskd: tell when a run failed"
PROCESSES = ("server", "worker-dskd-cpu", "worker-dskd-gpu")
EVALUATE = "dskd: evaluate what was trained"


@pytest.fixture
def client(prefect_server):
    with get_client(sync_client=True) as client:
        yield client


def test_a_death_is_three_missed_signs_of_life():
    dead = AutomationCore.model_validate(AUTOMATIONS[DEAD])
    assert dead.enabled
    file = yaml.safe_load((ROOT / "deployments/prefect.yaml").read_text())
    variables = [d["work_pool"]["job_variables"]["env"] for d in file["deployments"]]
    signs = {int(env["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]) for env in variables}
    assert {dead.trigger.within.total_seconds()} == {3 * seconds for seconds in signs}
    ends = {f"prefect.flow-run.{end}" for end in ("Completed", "Failed", "Crashed", "Cancelled")}
    assert dead.trigger.expect == ends | {"prefect.flow-run.heartbeat"}
    assert dead.trigger.after == {"prefect.flow-run.heartbeat"}
    assert [(a.type, a.state.value) for a in dead.actions] == [("change-flow-run-state", "CRASHED")]


def test_the_example_is_off_and_knows_no_address():
    assert AUTOMATIONS[TELL]["enabled"] is False
    assert [action["block"] for action in AUTOMATIONS[TELL]["actions"]] == ["dskd-notifications"]
    assert "http" not in str(AUTOMATIONS[TELL])


def test_the_trigger_is_one_that_prefect_accepts():
    file = yaml.safe_load((ROOT / "deployments/prefect.yaml").read_text())
    [evaluate] = [d for d in file["deployments"] if d["name"] == "evaluate"]
    [trigger] = _initialize_deployment_triggers("evaluate", evaluate["triggers"])
    assert trigger.expect == {"prefect.flow-run.Completed"}
    assert [d["name"] for d in file["deployments"] if "triggers" in d] == ["evaluate"]


@pytest.mark.slow
@pytest.mark.xdist_group("prefect")
def test_starting_twice_leaves_one_of_each_and_what_a_person_switched(client, prefect_server):
    def standing():
        automations = client.read_automations()
        return {a.name: (a.id, a.enabled) for a in automations}, len(automations)

    processes = [prefect_server.process(name) for name in PROCESSES]
    before, n_automations = standing()
    assert n_automations == 3
    assert {name: on for name, (_, on) in before.items()} == {
        EVALUATE: True,
        DEAD: True,
        TELL: False,
    }
    client.pause_automation(before[DEAD][0])
    client.resume_automation(before[TELL][0])
    try:
        printed = prefect_server.run("start")
        after, n_automations = standing()
        assert n_automations == 3
        assert after[DEAD] == (before[DEAD][0], False)
        assert after[TELL] == (before[TELL][0], True)
    finally:
        client.resume_automation(before[DEAD][0])
        client.pause_automation(before[TELL][0])
    assert printed.count("is running") == len(PROCESSES)
    assert processes == [prefect_server.process(name) for name in PROCESSES]
    limits = {limit.name: limit.limit for limit in client.read_global_concurrency_limits(limit=50)}
    assert limits["dskd-gpu"] == 1
    pools = {pool.name: pool.concurrency_limit for pool in client.read_work_pools()}
    assert pools == {"dskd-cpu": 2, "dskd-gpu": 1}


@pytest.mark.xdist_group("prefect")
def test_when_train_completes_its_own_parameters_are_evaluated_and_nothing_else_is(client):
    train, evaluate = (client.read_deployment_by_name(f"dskd/{n}") for n in ("train", "evaluate"))
    # Refused at once, should a worker be quick.
    config = train.parameters["config"] | {"root_uri": "ftp://of its own"}
    later = Scheduled(scheduled_time=now("UTC").add(days=1))

    def evaluations():
        runs = client.read_flow_runs(limit=200)
        return [r for r in runs if r.deployment_id == evaluate.id and r.id != evaluated.id]

    # What another run trains as a part of itself has no deployment.
    part = client.create_flow_run(train_flow, parameters={"config": DEFAULTS}, state=later)
    evaluated = client.create_flow_run_from_deployment(evaluate.id, state=later)
    trained = client.create_flow_run_from_deployment(
        train.id, parameters={"config": config}, state=later
    )
    for run in (part, evaluated, trained):
        client.set_flow_run_state(run.id, Completed(), force=True)
    assert awaited(evaluations, 30)
    [run] = evaluations()
    assert run.parameters == {"config": config}
    client.delete_flow_run(run.id)
