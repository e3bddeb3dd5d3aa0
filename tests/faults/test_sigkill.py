"""Killed with SIGKILL in every stage and started again: the same bytes as an undisturbed run."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dskd_core.config import PipelineConfig
from dskd_core.store.artifacts import PARTIAL, RECORD, Artifact, ArtifactStore, Work
from tests.faults.driver import Death, live
from tests.faults.lives import lives
from tests.miniature import make

Live = Callable[..., int]
Artifacts = dict[tuple[str, str], Artifact]

# Where a stage has several drafts the second dies first, so that the first has to be found again.
STAGES = {
    "teacher": 1,
    "corpus": 1,
    "embeddings-shard": 2,
    "embeddings": 1,
    "senses-shard": 2,
    "senses": 1,
    "lexicon-shard": 2,
    "lexicon": 1,
    "relations": 1,
    "words": 1,
    "dictionary": 1,
    "untrained-student": 1,
    "activations-shard": 2,
    "activations": 1,
    "candidates": 1,
    "checkpoint": 2,
    "student": 1,
    "scores": 2,
    "report": 1,
}
DEATHS = [
    death
    for stage, nth in STAGES.items()
    for death in (Death(stage, "half", nth), Death(stage, "written"))
    # A checkpoint is dropped when a later one, or the student, stands: just after, both do.
    + (Death(stage, "published"),) * (stage in ("checkpoint", "student"))
]


@pytest.fixture(scope="module")
def life() -> Iterator[Live]:
    with lives(live, seconds=120) as life:
        yield life


@pytest.fixture(scope="module")
def calm(tmp_path_factory, life) -> PipelineConfig:
    """An undisturbed run with two students."""
    config = make(
        tmp_path_factory.mktemp("faults"),
        evaluation={"arms": ["kd", "paper"], "seeds": [0], "n_resamples": 20},
    )
    assert life(config) == 0
    return config


@pytest.fixture
def killed(calm, tmp_path) -> PipelineConfig:
    """The same run under a root of its own."""
    return calm.model_copy(update={"root_uri": str(tmp_path / "killed")})


def published(config: PipelineConfig) -> Artifacts:
    store = ArtifactStore(config.root_uri)
    stages = sorted(path.name for path in Path(config.root_uri).iterdir())
    return {(stage, a.fingerprint): a for stage in stages for a in store.of_stage(stage)}


def drafts(config: PipelineConfig) -> set[Path]:
    return set(Path(config.root_uri).glob(f"*/{PARTIAL}*"))


def contents(artifacts: Artifacts) -> dict[tuple[str, str], str]:
    return {name: artifact.record.content for name, artifact in artifacts.items()}


def assert_untouched(before: Artifacts, after: Artifacts) -> None:
    """What one life finished the next finds; a checkpoint goes when a later one stands."""
    for (stage, fingerprint), artifact in before.items():
        if stage != "checkpoint":
            assert after[stage, fingerprint].record == artifact.record


@pytest.mark.slow
def test_a_run_killed_in_every_stage_ends_with_the_bytes_of_an_undisturbed_one(calm, killed, life):
    before: Artifacts = {}
    for death in DEATHS:
        known = drafts(killed)
        assert life(killed, death) == -signal.SIGKILL, f"{death} never came"
        left = [draft.parent.name for draft in drafts(killed) - known]
        assert left == [death.stage] * (death.moment != "published"), f"{death} left {left}"
        after = published(killed)
        assert_untouched(before, after)
        assert not any(PARTIAL in artifact.uri for artifact in after.values())
        before = after
    assert life(killed) == 0
    after = published(killed)
    assert_untouched(before, after)
    assert contents(after) == contents(published(calm))
    assert set(STAGES) - {"checkpoint"} == {stage for stage, _ in after}


def test_an_artifact_killed_half_discarded_is_made_again(tmp_path):
    store, work = ArtifactStore(str(tmp_path)), Work("senses", {}, {})
    for _ in range(2):
        with store.publish(work) as draft:
            draft.write_json("content.json", 1)
        made = store.get(work.stage, work.fingerprint)
        Path(made.file_uri(RECORD)).unlink()  # what ``discard`` does first
        assert store.find(work) is None
