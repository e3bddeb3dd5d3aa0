"""Two runs of one build at once: both end well, with the bytes of one alone."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from dskd_core.config import PipelineConfig
from dskd_core.store.arrays import put_array
from dskd_core.store.artifacts import PARTIAL, RECORD, Artifact, ArtifactStore, Work
from dskd_core.store.verification import verify
from tests.faults.driver import live, make_shards
from tests.faults.learner import learn
from tests.faults.lives import lives
from tests.miniature import Built, make

WORK = Work("states", {"k": 5}, {})


def published(config: PipelineConfig) -> dict[str, Artifact]:
    store = ArtifactStore(config.root_uri)
    stages = sorted(path.name for path in Path(config.root_uri).iterdir())
    return {f"{s}/{a.fingerprint}": a for s in stages for a in store.of_stage(s)}


def contents(config: PipelineConfig) -> dict[str, str]:
    return {name: artifact.record.content for name, artifact in published(config).items()}


def assert_whole(config: PipelineConfig) -> None:
    assert not list(Path(config.root_uri).glob(f"*/{PARTIAL}*"))
    for artifact in published(config).values():
        assert verify(artifact.uri).problems == []


@pytest.mark.slow
def test_two_runs_under_one_root_both_end_well_with_the_bytes_of_one(tmp_path):
    calm = make(tmp_path, evaluation={"arms": ["kd", "paper"], "seeds": [0], "n_resamples": 20})
    twice = calm.model_copy(update={"root_uri": str(tmp_path / "twice")})
    with lives(live, seconds=200) as life:
        assert life(calm) == 0
        assert life.together((twice,), (twice,)) == [0, 0]
    assert contents(twice) == contents(calm)
    assert_whole(twice)


@pytest.mark.slow
def test_two_processes_in_the_same_shards_both_end_well_with_the_same_bytes(miniature, tmp_path):
    config = miniature.config.model_copy(update={"root_uri": str(tmp_path / "root")})
    calm = miniature.embeddings().record
    with lives(make_shards, seconds=60) as life:
        every = ("embeddings", 0, (0, 1))
        assert life.together((config, *every), (config, *every)) == [0, 0]
    assert Built(config).embeddings().record.files == calm.files
    assert_whole(config)


def write(root: str, n_times: int) -> None:
    """Publish, and discard half way, the same work again and again."""
    store = ArtifactStore(root)
    for _ in range(n_times):
        with store.publish(WORK) as draft:
            draft.write_json("a.json", 1)
            put_array(draft.write_group("senses.zarr"), "rows", np.arange(1000))
        (Path(store.uri(WORK)) / RECORD).unlink(missing_ok=True)  # as a killed discard left it


def test_writers_that_meet_in_one_place_leave_one_whole_artifact(tmp_path):
    with lives(write, seconds=60) as life:
        assert life.together(*[(str(tmp_path), 15)] * 3) == [0, 0, 0]
    store = ArtifactStore(str(tmp_path))
    with store.publish(WORK) as draft:
        draft.write_json("a.json", 1)
    assert verify(store.uri(WORK)).problems == []
    assert [path.name for path in (tmp_path / "states").iterdir()] == [WORK.fingerprint]


def test_what_another_published_meanwhile_is_not_deleted_as_a_leftover(tmp_path, monkeypatch):
    """Between a look at the leftover and its removal another worker publishes there."""
    store = ArtifactStore(str(tmp_path))
    left = Path(store.uri(WORK))
    left.mkdir(parents=True)
    (left / "half").write_text("left")
    rename, looks = Path.rename, []

    def rename_late(path: Path, target: Path | str) -> Path:
        looks.append(str(target))
        if len(looks) == 1:  # ours finds the leftover in its way; the other is faster
            shutil.rmtree(left)
            with store.publish(WORK) as other:
                other.write_json("a.json", 1)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_late)
    with store.publish(WORK) as draft:
        draft.write_json("a.json", 1)
    assert json.loads((left / "a.json").read_text()) == 1
    assert store.find(WORK) is not None
    assert [path.name for path in left.parent.iterdir()] == [WORK.fingerprint]


def test_an_artifact_discarded_by_two_at_once_is_gone_for_both(tmp_path):
    store = ArtifactStore(str(tmp_path))
    with store.publish(WORK) as draft:
        draft.write_json("a.json", 1)
    artifact = store.get(WORK.stage, WORK.fingerprint)
    store.discard(artifact)
    store.discard(artifact)
    assert store.find(WORK) is None
    assert not store.exists(artifact)


@pytest.mark.slow
def test_two_runs_of_one_student_do_not_corrupt_each_others_checkpoints(tmp_path):
    # A checkpoint a step and three processes: each drops what another is about to read.
    training = {"checkpoint_steps": 1, "n_epochs": 3.0, "validation_steps": 2, "keep": "best"}
    calm = make(tmp_path, training=training)
    Built(calm).inputs()
    twice = calm.model_copy(update={"root_uri": str(tmp_path / "twice")})
    shutil.copytree(calm.root_uri, twice.root_uri)
    with lives(learn, seconds=200) as life:
        assert life(calm) == 0
        killed = partial(life, twice, 9)
        assert killed(5) == -9, "so that all three resume"
        assert life.together(*[(twice,)] * 3) == [0, 0, 0]
    assert contents(twice) == contents(calm)
    assert_whole(twice)
