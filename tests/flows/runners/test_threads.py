"""Where tasks run is said by the environment."""

import sys

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from dskd_core.errors import ConfigError
from flows.runners.choice import ChosenRunner, RunnerSettings
from flows.runners.threads import StoppableThreads

SCHEDULER = "tcp://127.0.0.1:8786"


def test_threads_are_the_default_and_have_one_slot():
    assert RunnerSettings.from_environment({}) == RunnerSettings.from_environment(
        {"DSKD_RUNNER": "threads", "DSKD_GPU_SLOTS": "8"}
    )
    assert RunnerSettings.from_environment({"DSKD_RUNNER": ""}) == RunnerSettings("threads", "", 1)


def test_a_cluster_decides_itself_how_much_is_out_at_once():
    dask = {"DSKD_RUNNER": "dask", "DSKD_DASK_ADDRESS": SCHEDULER}
    assert RunnerSettings.from_environment(dask) == RunnerSettings("dask", SCHEDULER, None)
    assert RunnerSettings.from_environment(dask | {"DSKD_GPU_SLOTS": "8"}).n_slots == 8
    ray = {"DSKD_RUNNER": "ray", "DSKD_RAY_ADDRESS": "ray://head:10001"}
    assert RunnerSettings.from_environment(ray) == RunnerSettings("ray", "ray://head:10001", None)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"DSKD_RUNNER": "spark"}, "'spark' is unknown; set threads, dask or ray"),
        ({"DSKD_RUNNER": "dask"}, "DSKD_DASK_ADDRESS is not set; set it to .*tcp://HOST:8786"),
        ({"DSKD_RUNNER": "ray"}, "DSKD_RAY_ADDRESS is not set; set it to .*ray://HOST:10001"),
        (
            {"DSKD_RUNNER": "dask", "DSKD_DASK_ADDRESS": "gpu1:8786"},
            "'gpu1:8786' has no protocol; write tcp://gpu1:8786",
        ),
        ({"DSKD_GPU_SLOTS": "two"}, "DSKD_GPU_SLOTS='two' is no count; set a whole number"),
        ({"DSKD_GPU_SLOTS": "0"}, "DSKD_GPU_SLOTS='0' is no count"),
    ],
)
def test_a_wrong_place_is_refused_with_its_cure(environment, message):
    with pytest.raises(ConfigError, match=message):
        RunnerSettings.from_environment(environment)


def test_every_flow_asks_the_environment_anew_when_it_runs(monkeypatch):
    runner = ChosenRunner()
    assert isinstance(runner.duplicate(), StoppableThreads)
    monkeypatch.setenv("DSKD_RUNNER", "dask")
    with pytest.raises(ConfigError, match="DSKD_DASK_ADDRESS"):
        runner.duplicate()


def test_a_cluster_is_refused_a_prefect_that_its_workers_cannot_reach(monkeypatch):
    monkeypatch.setenv("DSKD_RUNNER", "dask")
    monkeypatch.setenv("DSKD_DASK_ADDRESS", SCHEDULER)
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(ConfigError, match="PREFECT_API_URL is not set; start one"),
    ):
        ChosenRunner().duplicate()


def test_a_cluster_whose_package_is_missing_is_refused_with_the_package(monkeypatch):
    monkeypatch.setenv("DSKD_RUNNER", "ray")
    monkeypatch.setenv("DSKD_RAY_ADDRESS", "auto")
    monkeypatch.setitem(sys.modules, "prefect_ray", None)
    monkeypatch.delitem(sys.modules, "flows.runners.ray", raising=False)
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:4200/api"}),
        pytest.raises(ConfigError, match=r"pip install 'dskd\[ray\]'"),
    ):
        ChosenRunner().duplicate()


def test_all_flows_run_where_the_environment_says():
    from flows import build_dictionary, evaluate, pipeline, plan, rebuild_lexicon, sweep, train

    flows = [
        *(build_dictionary.build_dictionary, evaluate.evaluate, evaluate.compare_students),
        *(pipeline.pipeline, plan.plan, rebuild_lexicon.rebuild_lexicon, sweep.sweep),
        *(train.train, train.train_students),
    ]
    assert all(isinstance(each.task_runner, ChosenRunner) for each in flows)
