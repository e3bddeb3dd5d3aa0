"""Teacher and students on the benchmarks, through real tasks."""

import pytest
from prefect import flow

from dskd_core.config import EvaluationConfig, PipelineConfig, TeacherConfig
from dskd_core.embeddings.teacher import prepare_teacher
from dskd_core.errors import ConfigError
from dskd_core.evaluation.benchmarks.layout import TABLE
from dskd_core.store.artifacts import ArtifactStore
from flows.benchmarks import benchmarks, with_benchmarks
from flows.runners.choice import ChosenRunner
from tasks.stage_uris import StageUris
from tests.core.evaluation.benchmarks.conftest import write_files
from tests.core.prompts.conftest import write_teacher

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect_server")]


@pytest.fixture
def asked(tmp_path):
    """Settings of two benchmarks, and a teacher with one student, which is the teacher itself."""
    write_teacher(tmp_path / "teacher")
    write_files(tmp_path)
    teacher = TeacherConfig(source=str(tmp_path / "teacher"), dtype="float32", device="cpu")
    piqa = {"task": "piqa", "uri": str(tmp_path / "valid.jsonl"), "n_exemplars": 1}
    arc = {"task": "arc", "uri": str(tmp_path / "ARC-Challenge-Test.jsonl"), "n_exemplars": 2}
    evaluation = EvaluationConfig(
        arms=("kd",),
        seeds=(0,),
        benchmarks=[piqa, arc],
        benchmark_batch_tokens=300,
        benchmark_shard_tokens=300,
    )
    root = str(tmp_path / "artifacts")
    config = PipelineConfig(root_uri=root, teacher=teacher, evaluation=evaluation)
    uri = prepare_teacher(ArtifactStore(root), teacher).uri
    return config, StageUris(teacher=uri, students=[uri])


@pytest.mark.slow
def test_every_model_has_scores_on_every_benchmark_and_a_second_run_finds_them(asked):
    config, made = asked

    @flow(task_runner=ChosenRunner())
    def score():
        return with_benchmarks(config, made)

    scores = score().benchmarks
    assert len(scores) == 2
    store = ArtifactStore(config.root_uri)
    table = store.open(scores[0]).table(TABLE)
    assert {t: table["task"].to_pylist().count(t) for t in ("piqa", "arc")} == {
        "piqa": 6,
        "arc": 8,
    }
    parts = store.open(scores[0]).record.report["parts"]
    assert len(parts) > 2
    before = {a.uri: a.record.created_at for a in store.of_stage("benchmark-scores-shard")}
    assert set(parts) == {uri.rpartition("/")[2] for uri in before}
    assert score().benchmarks == scores
    after = {a.uri: a.record.created_at for a in store.of_stage("benchmark-scores-shard")}
    assert after == before


def test_without_benchmarks_nothing_is_scored_and_the_flow_that_scores_them_is_refused(config):
    assert with_benchmarks(config, StageUris()) == StageUris()
    with pytest.raises(ConfigError, match=r"evaluation\.benchmarks is empty"):
        benchmarks(config)
