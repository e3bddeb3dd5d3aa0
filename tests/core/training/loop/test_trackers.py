"""Trackers hear every step, and neither change nor end a run."""

import logging
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import accelerate.tracking
import pyarrow.parquet as pq
import pytest

from dskd_core.errors import ConfigError
from dskd_core.progress import silent
from dskd_core.training.loop import trackers
from dskd_core.training.loop.loop import train_student
from dskd_core.training.loop.trackers import check_trackers, log_folder, tracked
from tests.miniature import Built, make


class Heard:
    """A tracker that remembers what it was told, and fails at a step if asked to."""

    runs: list["Heard"]
    fails_at: str | int | None

    def __init__(self, run_name, **options):
        self.run_name, self.options, self.rows, self.ended = run_name, options, {}, False
        self.runs.append(self)

    def start(self):
        if self.fails_at == "start":
            raise ConnectionError("no route to https://me:hunter22@tracker")

    def store_init_configuration(self, values):
        self.settings = values

    def log(self, values, step):
        if step == self.fails_at:
            raise ConnectionError("no route to https://me:hunter22@tracker")
        self.rows[step] = values

    def finish(self):
        self.ended = True


@pytest.fixture
def heard(monkeypatch):
    """Put such a tracker in the place of Weights & Biases, as if it were installed."""
    kind = type("OfTest", (Heard,), {"runs": [], "fails_at": None})
    monkeypatch.setitem(accelerate.tracking.LOGGER_TYPE_TO_CLASS, "wandb", kind)
    monkeypatch.setattr(trackers, "find_spec", lambda name: name == "wandb" or find_spec(name))
    return kind


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return Built(make(tmp_path_factory.mktemp("trackers"), training={"max_train_tokens": 200}))


def trained(built, trackers, seed):
    """Train a student of a seed of its own: one that is there is not trained again."""
    config = built.config.training.model_copy(update={"trackers": trackers})
    inputs = built.inputs("kd")
    teacher = built.config.teacher
    return train_student(built.store, config, teacher, inputs, arm="kd", seed=seed)


def history(student) -> list[dict]:
    return pq.read_table(Path(student.uri) / "history.parquet").to_pylist()


def test_a_tracker_hears_every_step_and_is_no_part_of_the_student(built, heard):
    student = trained(built, ("wandb",), seed=1)
    (run,) = heard.runs
    rows = history(student)
    assert [run.rows[step + 1]["loss"] for step in range(len(rows))] == [r["loss"] for r in rows]
    assert run.ended
    assert run.options["name"] == f"kd-seed-1-{student.fingerprint}"
    assert run.options["dir"].startswith(built.config.root_uri)
    assert run.settings["kl_weight"] == 0.7
    assert trained(built, (), seed=1).fingerprint == student.fingerprint
    assert len(heard.runs) == 1


@pytest.mark.parametrize(("fails_at", "n_heard", "seed"), [("start", 0, 2), (2, 1, 3)])
def test_a_tracker_that_fails_ends_no_run_and_is_said_once(
    built, heard, caplog, fails_at, n_heard, seed
):
    heard.fails_at = fails_at
    with caplog.at_level(logging.WARNING):
        student = trained(built, ("wandb",), seed)
    assert student.record.counts["steps"] > 2
    assert len(heard.runs[0].rows) == n_heard
    said = [r.getMessage() for r in caplog.records if "training.trackers" in r.getMessage()]
    assert len(said) == 1
    assert "ConnectionError" in said[0]
    assert "hunter22" not in said[0]


def test_a_tracker_that_is_not_installed_is_refused_with_its_cure(tmp_path, monkeypatch):
    config = make(tmp_path, training={"trackers": ["mlflow"]})
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"names mlflow.*pip install mlflow"):
        check_trackers(config.training, config.root_uri)
    check_trackers(config.training.model_copy(update={"trackers": ()}), config.root_uri)


def test_logs_lie_below_a_local_root_or_the_working_folder(tmp_path, monkeypatch, heard):
    monkeypatch.chdir(tmp_path)
    assert log_folder("/data/root") == Path("/data/root/logs")
    assert log_folder("s3://bucket/root") == tmp_path / "work/logs"
    config = make(tmp_path, training={"trackers": ["wandb"]})
    monkeypatch.setenv("DSKD_ROOTS", "s3://bucket/root")
    with pytest.raises(ConfigError, match=r"trackers' logs.*none of the places"):
        check_trackers(config.training, "s3://bucket/root")


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="pip install tensorboard")
def test_tensorboard_has_the_terms_of_every_step(built):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    student = trained(built, ("tensorboard",), seed=4)
    folder = Path(built.config.root_uri) / "logs" / f"kd-seed-4-{student.fingerprint}"
    events = EventAccumulator(str(folder)).Reload()
    written = [(event.step, event.value) for event in events.Scalars("kl")]
    expected = [(n, row["kl"]) for n, row in enumerate(history(student), start=1)]
    assert written == [(step, pytest.approx(value, rel=1e-6)) for step, value in expected]


@pytest.mark.parametrize(("store", "seed"), [("", 5), ("file", 6)])
def test_mlflow_has_the_terms_of_every_step_in_one_run_and_no_secret(
    built, monkeypatch, tmp_path, store, seed
):
    mlflow = pytest.importorskip("mlflow")
    logs = Path(built.config.root_uri) / "logs"
    monkeypatch.chdir(tmp_path)
    place = f"{tmp_path.as_uri()}/runs" if store else ""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("HF_TOKEN", "hf_" + "s3cr3t" * 6)
    student = trained(built, ("mlflow",), seed)
    client = mlflow.MlflowClient(place or f"sqlite:///{logs / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("dskd").experiment_id
    (run,) = client.search_runs([experiment])
    assert run.info.run_name == f"kd-seed-{seed}-{student.fingerprint}"
    assert run.info.status == "FINISHED"
    assert run.data.params["kl_weight"] == "0.7"
    told = client.get_metric_history(run.info.run_id, "kl")
    expected = [(n, row["kl"]) for n, row in enumerate(history(student), start=1)]
    assert [(one.step, one.value) for one in told] == [
        (step, pytest.approx(value)) for step, value in expected
    ]
    written = [path for path in (*logs.rglob("*"), *tmp_path.rglob("*")) if path.is_file()]
    assert written
    assert not any(b"s3cr3t" in path.read_bytes() for path in written)
    assert [path.name for path in tmp_path.iterdir()] == (["runs"] if store else [])


def test_a_run_that_is_resumed_goes_on_in_mlflow_under_its_id(built, monkeypatch, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{tmp_path.as_uri()}/runs")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    config = built.config.training.model_copy(update={"trackers": ("mlflow",)})
    work = SimpleNamespace(config={"arm": "kd", "seed": 8}, fingerprint="f" * 16)
    for step in (1, 2):
        with tracked(config, built.config.root_uri, work, silent) as told:
            told(step, 2, "steps", loss=1.0 / step)
    (run,) = mlflow.search_runs(experiment_names=["dskd"], output_format="list")
    assert run.data.metrics["loss"] == 0.5
