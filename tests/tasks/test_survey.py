"""What a miniature lacks, found by the very functions that would make it."""

import shutil

import pytest

from dskd_core.store.artifacts import ArtifactStore, Work
from dskd_core.store.read_only_store import NotMade, ReadOnlyStore
from tasks.survey import Shards, survey_of
from tests.miniature import Built


@pytest.fixture(scope="module")
def finished(miniature, tmp_path_factory) -> Built:
    """A copy of a miniature that was built as far as its activations, for tests to spoil."""
    miniature.dictionary()
    miniature.activations()
    root = tmp_path_factory.mktemp("finished") / "artifacts"
    shutil.copytree(miniature.config.root_uri, root)
    return Built(miniature.config.model_copy(update={"root_uri": str(root)}))


def surveyed(built) -> dict[str, Shards]:
    return {stage.stage: stage for stage in survey_of(built.config)}


def test_nothing_is_missing_of_a_finished_run(finished):
    stages = surveyed(finished)
    assert list(stages) == ["lexicon", "embeddings", "senses", "activations"]
    assert all(stage.is_whole for stage in stages.values())
    n_parts = finished.store.of_stage("embeddings")[0].record.counts["parts"]
    assert len(stages["embeddings"].done) == n_parts > 1


def test_a_deleted_shard_is_named_and_what_needs_it_waits_for_nothing_else(finished):
    shard = finished.store.of_stage("senses-shard")[0]
    finished.store.discard(shard)
    stages = surveyed(finished)
    assert len(stages["senses"].missing) == 1
    assert stages["senses"].missing[0].startswith("senses shard ")
    assert stages["senses"].collected
    assert not stages["senses"].is_whole
    assert stages["embeddings"].is_whole
    assert stages["activations"].is_whole


def test_other_settings_lack_everything_that_depends_on_them(finished):
    senses = finished.config.senses.model_copy(update={"n_senses": 2})
    stages = surveyed(Built(finished.config.model_copy(update={"senses": senses})))
    assert stages["embeddings"].is_whole
    assert not stages["senses"].done
    assert stages["senses"].row()["state"] == "to be collected"


def test_an_empty_root_has_nothing_and_stays_empty(miniature, tmp_path):
    config = miniature.config.model_copy(update={"root_uri": str(tmp_path / "none")})
    stages = surveyed(Built(config))
    assert {s.waits_for for s in stages.values()} == {None, "teacher"}
    assert stages["lexicon"].missing == ["lexicon shard 0-of-2", "lexicon shard 1-of-2"]
    assert stages["senses"].row()["state"] == "not started: there is no teacher yet"
    assert not (tmp_path / "none").exists()


def test_a_lookup_makes_nothing(tmp_path):
    store, work = ReadOnlyStore(str(tmp_path / "root")), Work("senses", {}, {})
    assert store.find(work) is None
    with pytest.raises(NotMade, match="run the stage senses first"), store.publish(work):
        pytest.fail("there is no draft to fill")
    assert not (tmp_path / "root").exists()
    with ArtifactStore(str(tmp_path / "root")).publish(work):
        pass
    assert store.find(work).record.stage == "senses"
