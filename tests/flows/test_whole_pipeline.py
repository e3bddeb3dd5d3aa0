"""The whole miniature through the real flow: every stage, a shard that fails, a second run."""

import shutil
from pathlib import Path

import pytest
import torch

import dskd_core.embeddings.store as extraction
import dskd_core.embeddings.teacher as preparation
from dskd_core.store.artifacts import ArtifactStore
from dskd_core.training.loop.loop import Run
from flows.evaluate import evaluate
from flows.pipeline import pipeline
from flows.sweep import sweep
from tasks.sharded import TASKS
from tests.miniature import make

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect_server")]

STAGES = [
    "teacher",
    "corpus",
    "embeddings",
    "senses",
    "lexicon",
    "relations",
    "words",
    "dictionary",
    "untrained",
    "activations",
    "candidates",
    "students",
    "scores",
    "continuations",
    "report",
]


@pytest.fixture
def one_thread():
    """The tensors are so small that a second thread only gets in the way."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """Names of the shards extracted, in order; shard 1 fails the first time, and waits for none."""
    calls: list[str] = []
    extract = extraction.extract_shard

    def failing_once(store, config, teacher_config, teacher, corpus, shard, **named):
        calls.append(shard.name)
        if calls.count("1-of-3") == 1 and shard.index == 1:
            raise OSError("connection reset")
        return extract(store, config, teacher_config, teacher, corpus, shard, **named)

    monkeypatch.setattr(extraction, "extract_shard", failing_once)
    monkeypatch.setattr(TASKS["embeddings"].make, "retry_delay_seconds", [0, 0, 0])
    monkeypatch.setattr(TASKS["embeddings"].make, "retry_jitter_factor", None)
    return calls


def records(made: dict) -> dict:
    uris = [uri for several in made.listed().values() for uri in several]
    return {uri: ArtifactStore.open(uri).record for uri in uris}


def test_the_pipeline_makes_every_stage_once(tmp_path, calls, one_thread, monkeypatch):
    config = make(tmp_path, evaluation={"seeds": [0], "n_resamples": 50})

    made = pipeline(config)

    assert list(made.listed()) == STAGES
    assert sorted(calls) == ["0-of-3", "1-of-3", "1-of-3", "2-of-3"], "one shard retried, alone"
    first = records(made)
    subjects = [first[uri].report["arm"] for uri in made.students]
    assert subjects == ["kd", "paper", "kd_mse"]
    report = first[made.report].report
    assert [row["arm"] for row in report["table"]] == ["teacher", "kd", "paper", "kd_mse"]
    assert all(row["CE"] > 0 for row in report["table"])
    assert {row["arms"] for row in report["comparison"]} == {"paper - kd", "kd_mse - kd"}
    assert {row["arms"] for row in report["control"]} == {"paper - kd_mse"}

    monkeypatch.setattr(Run, "step", lambda run, step: pytest.fail("a found student was trained"))
    assert pipeline(config) == made
    assert records(made) == first, "not even the times have changed"
    root = ArtifactStore(config.root_uri)
    assert [len(root.of_stage(s)) for s in ("student", "scores", "report", "checkpoint")] == [
        *(3, 4, 1, 0)
    ]


@pytest.mark.slow
def test_a_sweep_shares_one_cache_and_a_precomputed_run_needs_no_teacher(
    tmp_path, one_thread, monkeypatch
):
    config = make(tmp_path, evaluation={"arms": ["kd", "paper"], "seeds": [0], "n_resamples": 50})
    grid = {"training.n_candidates": [1], "senses.n_senses": [2]}

    made = sweep(config, grid)

    root = ArtifactStore(config.root_uri)
    report = ArtifactStore.open(made.sweep).record.report
    assert [row["point"] for row in report["table"]] == [
        "base",
        "training.n_candidates=1",
        "senses.n_senses=2",
    ]
    assert report["base"] == {"training.n_candidates": 2, "senses.n_senses": 3}
    counts = {s: len(root.of_stage(s)) for s in ("activations", "candidates", "student")}
    assert counts == {"activations": 1, "candidates": 3, "student": 4}, "one KD, three DSKD"

    elsewhere = tmp_path / "elsewhere"
    for stage in ("untrained-student", "activations", "activations-shard", "dictionary"):
        shutil.copytree(Path(config.root_uri) / stage, elsewhere / stage)
    for built in ("senses", "candidates", "dictionary"):
        for artifact in ArtifactStore(str(elsewhere)).of_stage(built)[1:]:
            ArtifactStore.discard(artifact)
    monkeypatch.setattr(preparation, "prepare_teacher", lambda *_, **__: pytest.fail("a teacher"))
    training = config.training.model_copy(update={"mode": "precomputed"})
    alone = evaluate(config.model_copy(update={"root_uri": str(elsewhere), "training": training}))
    contents = [ArtifactStore.open(uri).record.content for uri in alone.students]
    known = {a.record.content for a in root.of_stage("student")}
    assert set(contents) <= known
    assert len(alone.scores) == 3
    assert ArtifactStore.open(alone.report).record.counts["students"] == 2
