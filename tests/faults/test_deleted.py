"""What was deleted under a run, or under an artifact made from it: named, or made again."""

import shutil

import pytest

from dskd_core.embeddings.readers import load_embeddings
from dskd_core.errors import ArtifactError, DskdError
from dskd_core.store.arrays import get_array
from dskd_core.store.artifacts import ArtifactStore, Work
from dskd_core.training.activations.readers import StoredActivations
from tests.faults.driver import live
from tests.faults.lives import lives
from tests.miniature import Built


@pytest.fixture
def copied(miniature, tmp_path) -> Built:
    """A miniature with a root of its own, in which everything up to a student stands."""
    miniature.scores(miniature.student())
    shutil.copytree(miniature.store.root_uri, tmp_path / "root")
    return Built(miniature.config.model_copy(update={"root_uri": str(tmp_path / "root")}))


@pytest.mark.parametrize(
    ("collected", "load"),
    [("embeddings", load_embeddings), ("activations", StoredActivations)],
)
def test_a_deleted_shard_under_a_collected_artifact_is_named(copied, collected, load):
    artifact = copied.store.of_stage(collected)[-1]
    stage, name = f"{collected}-shard", artifact.record.report["parts"][-1]
    shutil.rmtree(f"{copied.store.root_uri}/{stage}/{name}")
    with pytest.raises(ArtifactError, match=f"No artifact {stage}/{name} .*run the stage first"):
        load(artifact, copied.store)


def test_an_artifact_deleted_while_it_is_read_is_named(copied):
    artifact = copied.dictionary()
    group = artifact.group("dictionary.zarr")
    shutil.rmtree(artifact.uri)
    for read in (
        lambda: get_array(group, "rows"),
        lambda: artifact.group("dictionary.zarr"),
        lambda: artifact.table("words.parquet"),
        artifact.folder,
        lambda: ArtifactStore.open(artifact.uri),
    ):
        with pytest.raises(DskdError, match=rf"{artifact.uri}.*run (its|the) stage again"):
            read()


def test_an_artifact_deleted_between_listing_and_opening_is_not_listed(tmp_path, monkeypatch):
    store, works = ArtifactStore(str(tmp_path)), [Work("checkpoint", {"k": k}, {}) for k in (1, 2)]
    for work in works:
        with store.publish(work) as draft:
            draft.write_json("a.json", 1)
    opened = store.open

    def open_late(uri, **options):
        if uri.endswith(works[0].fingerprint):
            shutil.rmtree(uri)
        return opened(uri, **options)

    monkeypatch.setattr(ArtifactStore, "open", staticmethod(open_late))
    assert [a.fingerprint for a in store.of_stage("checkpoint")] == [works[1].fingerprint]


STAGES = ["teacher", "corpus", "embeddings-shard", "embeddings", "senses-shard", "lexicon-shard"]
STAGES += ["relations", "dictionary", "untrained-student", "activations-shard", "candidates"]


@pytest.mark.slow
def test_whatever_is_deleted_the_next_run_makes_it_again_with_the_same_bytes(copied):
    evaluation = {"arms": ("kd", "paper"), "seeds": (0,), "n_resamples": 20}
    changed = {"evaluation": copied.config.evaluation.model_copy(update=evaluation)}
    config, store = copied.config.model_copy(update=changed), copied.store
    shutil.rmtree(store.root_uri)  # other tests may have made what this run does not
    with lives(live, seconds=120) as life:
        assert life(config) == 0
        for stage in STAGES:
            known = {a.fingerprint: a.record for a in store.of_stage(stage)}
            lost = max(known)
            shutil.rmtree(f"{store.root_uri}/{stage}/{lost}")
            # A lexicon has the rows of its shards: they are read again only to make it again.
            above = ["report", "lexicon"] if stage == "lexicon-shard" else ["report"]
            for artifact in [a for name in above for a in store.of_stage(name)]:
                store.discard(artifact)
            assert life(config) == 0
            made = {a.fingerprint: a.record for a in store.of_stage(stage)}
            assert made[lost].content == known[lost].content
            assert {n: r for n, r in made.items() if n != lost} == {
                n: r for n, r in known.items() if n != lost
            }
