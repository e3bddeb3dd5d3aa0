"""Order and clocks: shards made in any order by any process, on machines whose clocks disagree."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dskd_core.store import artifacts
from dskd_core.store.artifacts import PARTIAL, ArtifactStore, Work
from tests.faults.driver import live, make_shards
from tests.faults.lives import lives
from tests.faults.test_twice import contents
from tests.miniature import Built, make

WORK = Work("senses", {"k": 5}, {})
WEEK = 7 * 24 * 3600


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1], ids=["reverse", "random"])
def test_shards_made_in_any_order_by_two_processes_give_the_same_bytes(tmp_path, seed):
    calm = make(tmp_path, evaluation={"arms": ["kd", "paper"], "seeds": [0], "n_resamples": 20})
    other = calm.model_copy(update={"root_uri": str(tmp_path / "other")})
    with lives(live, seconds=200) as life:
        assert life(calm) == 0
    with lives(make_shards, seconds=200) as life:
        for stage in ("lexicon", "embeddings", "senses", "activations"):
            shares = [(other, stage, seed, (i, 2)) for i in range(2)]
            assert life.together(*shares) == [0, 0]
    with lives(live, seconds=200) as life:
        assert life(other) == 0
    assert contents(other) == contents(calm)


def test_embeddings_and_senses_made_in_reverse_have_the_same_bytes(miniature, tmp_path):
    config = miniature.config.model_copy(update={"root_uri": str(tmp_path / "other")})
    make_shards(config, "embeddings", 0, (0, 1))
    make_shards(config, "senses", 0, (0, 1))
    shards = ArtifactStore(config.root_uri).of_stage("senses-shard")
    firsts = [shard.record.config["tokens"][0] for shard in shards]
    assert firsts == sorted(firsts, reverse=True)
    assert len(firsts) > 1
    built = Built(config)
    assert built.senses().record.content == miniature.senses().record.content
    assert built.embeddings().record.content == miniature.embeddings().record.content


def publish(store: ArtifactStore, work: Work) -> None:
    with store.publish(work) as draft:
        draft.write_json("a.json", 1)


@pytest.mark.parametrize("days", [-400, 400])
def test_a_clock_that_is_wrong_by_a_year_hides_nothing(tmp_path, monkeypatch, days):
    class Wrong(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(days=days)

    store, works = ArtifactStore(str(tmp_path)), [Work("senses", {"k": k}, {}) for k in (1, 2)]
    with monkeypatch.context() as patch:
        patch.setattr(artifacts, "datetime", Wrong)
        publish(store, works[0])
    publish(store, works[1])
    found = store.of_stage("senses")
    assert {a.fingerprint for a in found} == {work.fingerprint for work in works}
    skew = datetime.fromisoformat(store.find(works[0]).record.created_at) - datetime.now(UTC)
    assert abs(skew - timedelta(days=days)) < timedelta(minutes=5)
    assert store.find(works[0]).record.content == store.find(works[1]).record.content


def test_a_disk_whose_clock_is_a_month_behind_loses_no_live_draft(tmp_path, monkeypatch):
    """The age of a draft is told by the disk's clock alone, never by this machine's."""
    store = ArtifactStore(str(tmp_path))
    now = time.time()
    with store.publish(WORK) as draft:
        draft.write_json("a.json", 1)
        monkeypatch.setattr(time, "time", lambda: now + 5 * WEEK)
        publish(store, WORK)
        assert draft.folder.exists()


def test_a_draft_that_is_still_written_to_is_not_swept_however_old(tmp_path):
    store = ArtifactStore(str(tmp_path))
    drafts = [tmp_path / "senses" / f"{PARTIAL}{WORK.fingerprint}-{name}" for name in ("a", "b")]
    for draft in drafts:
        (draft / "senses.zarr").mkdir(parents=True)
        (draft / "senses.zarr/chunk").write_bytes(b"1")
        for path in (draft / "senses.zarr/chunk", draft / "senses.zarr", draft):
            os.utime(path, (time.time() - 2 * WEEK,) * 2)
    os.utime(drafts[0] / "senses.zarr/chunk")
    publish(store, WORK)
    assert [draft.exists() for draft in drafts] == [True, False]


def test_a_draft_from_the_future_is_left_alone_and_does_not_hinder(tmp_path):
    store = ArtifactStore(str(tmp_path))
    draft = tmp_path / "senses" / f"{PARTIAL}{WORK.fingerprint}-future"
    draft.mkdir(parents=True)
    os.utime(draft, (time.time() + 5 * WEEK,) * 2)
    publish(store, WORK)
    assert draft.exists()
    assert Path(store.uri(WORK)).exists()
