"""deployments/prefect.yaml says when and where, and Prefect can do it."""

import importlib
import os
import pkgutil
from pathlib import Path

import pytest
import yaml
from prefect import Flow
from prefect.utilities.importtools import import_object

import flows
from dskd_core.config import PipelineConfig
from dskd_core.errors import ConfigError
from flows.deployment_steps import enter_home, read_parameters

ROOT = Path(__file__).parents[2]
FILE = yaml.safe_load((ROOT / "deployments/prefect.yaml").read_text())
DEPLOYMENTS = {deployment["name"]: deployment for deployment in FILE["deployments"]}
each = pytest.mark.parametrize("deployment", DEPLOYMENTS.values(), ids=DEPLOYMENTS)


def test_every_flow_that_needs_no_other_one_has_a_deployment_of_its_name():
    modules = [
        importlib.import_module(module.name)
        for module in pkgutil.iter_modules(flows.__path__, "flows.")
    ]
    found = [f for module in modules for f in vars(module).values() if isinstance(f, Flow)]
    alone = {f.fn.__name__ for f in found if not f.parameters.required}
    assert set(DEPLOYMENTS) == {name.replace("_", "-") for name in alone}


OTHERS = {"sweep": ["grid", "design"], "tidy": ["older_than_hours", "dry_run"]}


@each
def test_an_entrypoint_is_a_flow_named_dskd_that_takes_the_whole_configuration(deployment):
    flow = import_object(deployment["entrypoint"])
    assert isinstance(flow, Flow)
    assert flow.name == "dskd"
    others = OTHERS.get(deployment["name"], [])
    assert list(flow.parameters.properties) == ["config", *others]


@each
def test_a_deployment_says_what_where_and_how_often_at_once(deployment):
    assert deployment["description"].endswith(".")
    assert deployment["tags"]
    assert deployment["work_pool"]["name"] in {"dskd-cpu", "dskd-gpu"}
    assert deployment["concurrency_limit"]["limit"] == 1
    assert deployment["concurrency_limit"]["collision_strategy"] in {"ENQUEUE", "CANCEL_NEW"}


def test_schedules_do_not_start_at_the_same_hour():
    crons = [s["cron"] for d in DEPLOYMENTS.values() for s in d.get("schedules", [])]
    assert len(crons) == 3
    assert len({tuple(cron.split()[:2]) for cron in crons}) == 3


@each
def test_parameters_are_those_of_a_file_and_validate(deployment, monkeypatch):
    monkeypatch.chdir(ROOT)
    [step] = FILE["build"]
    arguments = step["flows.deployment_steps.read_parameters"]
    name = f"{{{{ {arguments['id']}.config }}}}"
    assert deployment["parameters"] == {"config": name}
    PipelineConfig.model_validate(read_parameters(arguments["path"])["config"])


@each
def test_the_ui_form_explains_every_setting(deployment):
    form = import_object(deployment["entrypoint"]).parameters.definitions
    senses = form["SensesConfig"]["properties"]["n_senses"]
    assert senses["description"].startswith("k: senses a token.")


def test_a_worker_goes_to_its_own_home(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("DSKD_HOME", str(tmp_path))
    monkeypatch.setenv("DSKD_ROOTS", "")  # so that what the step sets is taken back
    monkeypatch.delenv("DSKD_ROOTS")
    assert enter_home() == {"directory": str(tmp_path)}
    assert os.path.samefile(Path.cwd(), tmp_path)  # noqa: PTH121
    assert os.environ["DSKD_ROOTS"] == str(tmp_path), "where nobody says otherwise"


def test_the_roots_a_worker_was_given_are_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("DSKD_HOME", str(tmp_path))
    monkeypatch.setenv("DSKD_ROOTS", "s3://dskd")
    enter_home()
    assert os.environ["DSKD_ROOTS"] == "s3://dskd"


@pytest.mark.parametrize("home", [None, "", "/no/such/folder"])
def test_a_worker_without_a_home_is_told_how_to_get_one(home, monkeypatch):
    if home is None:
        monkeypatch.delenv("DSKD_HOME", raising=False)
    else:
        monkeypatch.setenv("DSKD_HOME", home)
    with pytest.raises(ConfigError, match="start the worker with DSKD_HOME"):
        enter_home()
