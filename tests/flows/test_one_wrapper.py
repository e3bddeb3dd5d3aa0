"""Every task and every flow, and all they show, goes through what takes secrets out."""

import ast
import importlib
import pkgutil
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator
from prefect import Flow, Task
from prefect.exceptions import ParameterTypeError

import flows
import tasks
from dskd_core.config import PipelineConfig
from flows.flow import RedactedFlow
from flows.sweep import sweep
from flows.tidy import tidy
from tasks.tidy import tidy as tidy_task

ROOT = Path(__file__).parents[2]
OPTIONAL = {"flows.runners.ray": "prefect_ray", "flows.runners.dask": "prefect_dask"}
NAMES = sorted(
    module.name
    for package in (tasks, flows)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
)
MAY_IMPORT = {
    "task": {"tasks.policy"},
    "flow": set(),
    "Flow": {"flows.flow"},
    "artifacts": {"tasks.redacted_pages"},
}
"""What of Prefect makes tasks, flows and pages, and the modules that wrap it."""


def imported_from_prefect(name: str) -> set[str]:
    path = ROOT / name.replace(".", "/")
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    tree = ast.parse(source.read_text("utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "prefect":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("prefect."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {"prefect" for alias in node.names if alias.name.startswith("prefect")}
    return found


def made_in(name: str) -> list:
    if name in OPTIONAL:
        pytest.importorskip(OPTIONAL[name])
    module = importlib.import_module(name)
    found = [*vars(module).values(), *getattr(module, "TASKS", {}).values()]
    members = [m for one in found for m in (one if isinstance(one, tuple) else [one])]
    return [made for made in members if isinstance(made, Task | Flow)]


@pytest.mark.parametrize("name", NAMES)
def test_no_task_and_no_flow_goes_around_the_wrapper(name):
    for made in made_in(name):
        assert getattr(made.fn, "redacts", False), made.name
        assert isinstance(made, Task | RedactedFlow)
        run_name = made.task_run_name if isinstance(made, Task) else made.flow_run_name
        assert getattr(run_name, "redacts", False), f"{made.name}: its runs' names are not redacted"


def test_there_are_tasks_and_flows_to_look_at():
    made = [made for name in NAMES if name not in OPTIONAL for made in made_in(name)]
    assert {"tidy", "plan", "hub", "precomputed", "precision"} <= {one.name for one in made}
    assert len({one.fn.__name__ for one in made if isinstance(one, Flow)}) >= 10


@pytest.mark.parametrize("name", NAMES)
def test_nobody_else_makes_tasks_flows_or_pages(name):
    found = imported_from_prefect(name)
    assert "prefect" not in found, "import names from it, so that this test sees them"
    for forbidden, allowed in MAY_IMPORT.items():
        assert forbidden not in found or name in allowed


def test_names_and_parameters_of_runs_have_no_secret(monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "of-postgres")
    config = PipelineConfig(root_uri="/data/of-postgres")
    assert tidy_task.task_run_name(parameters={"config": config}) == "tidy /data/[PGPASSWORD]"
    kept = tidy.serialize_parameters({"config": config, "older_than_hours": 24.0})
    assert kept["config"]["root_uri"] == "/data/[PGPASSWORD]"
    assert kept["older_than_hours"] == 24.0


def test_a_flow_repeats_no_login_of_what_it_refuses():
    for flow, parameters in (
        (tidy, {"older_than_hours": "s3://K:hidden@h"}),
        (tidy, {"config": {"root_uri": "hf:s3://K:hidden@h"}}),
        (sweep, {"grid": {"senses.n_senses": [3, "hf:s3://K:hidden@h"]}}),
    ):
        with pytest.raises(ParameterTypeError) as told:
            flow.validate_parameters(parameters)
        assert "hidden" not in str(told.value)


def test_the_server_keeps_no_login_of_parameters_that_it_did_not_check(monkeypatch):
    kept = {"older_than_hours": 1, "config": {"root_uri": "s3://K:hidden@h/x"}}
    run = UUID(int=7)

    class Client:
        def read_flow_run(self, run_id):
            assert run_id == run
            return SimpleNamespace(parameters=dict(kept))

        def update_flow_run(self, run_id, parameters):
            assert run_id == run
            kept.update(parameters)

    @contextmanager
    def client(sync_client):
        yield Client()

    monkeypatch.setattr("flows.flow.get_client", client)
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", str(run))
    with pytest.raises(ParameterTypeError):
        tidy.validate_parameters({"config": {"root_uri": "s3://K:hidden@h/x"}})
    assert kept == {"older_than_hours": 1, "config": {"root_uri": "s3://[login]@h/x"}}


def test_the_form_of_a_sweep_refuses_credentials_in_its_grid():
    values = sweep.parameters.properties["grid"]["additionalProperties"]["items"]
    assert not Draft202012Validator(values).is_valid("hf:s3://K:S@h")
    assert Draft202012Validator(values).is_valid("calibrated")


def test_tasks_of_one_name_in_two_modules_are_two_to_prefect():
    made = {id(one): one for name in NAMES if name not in OPTIONAL for one in made_in(name)}
    keys = [one.task_key for one in made.values() if isinstance(one, Task)]
    assert len(set(keys)) == len(keys)
