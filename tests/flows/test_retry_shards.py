"""Shards retried from the artifacts alone, with a stand-in for the core."""

import pytest

from dskd_core.errors import ConfigError
from dskd_core.store.artifacts import ArtifactStore
from flows.build_dictionary import build_dictionary
from flows.retry_shards import retry_shards
from flows.train import train
from tasks.sharded import TASKS
from tasks.shards import ShardError

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect_server")]


@pytest.fixture
def impatient(monkeypatch):
    """Retry at once."""
    monkeypatch.setattr(TASKS["embeddings"].make, "retry_delay_seconds", [0, 0, 0])
    monkeypatch.setattr(TASKS["embeddings"].make, "retry_jitter_factor", None)


def states(rows) -> dict[str, str]:
    return {row["stage"]: row["state"] for row in rows}


@pytest.mark.slow
def test_only_the_missing_shard_is_made_and_what_waits_is_not_started(core, config, impatient):
    core.broken["embeddings 1-of-3"] = [OSError("bad sector")] * 4
    with pytest.raises(ShardError):
        build_dictionary(config)
    core.made.clear()
    rows = retry_shards(config)
    assert core.made == ["embeddings 1-of-3", "embeddings"]
    assert states(rows) == {
        "lexicon": "collected",
        "embeddings": "collected",
        "senses": "to be collected",
        "activations": "not started: there is no untrained student yet",
    }
    # Its inputs are there now, so the next call makes it; nothing else is begun.
    core.made.clear()
    assert states(retry_shards(config))["senses"] == "collected"
    assert core.made == ["senses 0-of-3", "senses 1-of-3", "senses 2-of-3", "senses"]
    core.made.clear()
    retry_shards(config)
    assert core.made == []


@pytest.mark.slow
def test_a_lost_shard_of_a_finished_run_is_made_again(core, config):
    train(config)
    store = ArtifactStore(config.root_uri)
    store.discard(store.of_stage("activations-shard")[1])
    core.made.clear()
    rows = retry_shards(config)
    assert [name.partition(" ")[0] for name in core.made] == ["activations"]
    assert set(states(rows).values()) == {"collected"}


def test_a_root_elsewhere_is_refused_before_any_work(core, config, monkeypatch, tmp_path):
    monkeypatch.setenv("DSKD_ROOTS", str(tmp_path / "root"))
    for flow in (retry_shards, build_dictionary, train):
        with pytest.raises(ConfigError, match=r"root_uri .*none of the places this worker may"):
            flow(config)
    assert core.calls == []
