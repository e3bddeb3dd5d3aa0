"""A shard that always fails, through the real flow and the real core: named after all others."""

from pathlib import Path

import pytest

from dskd_core.store.artifacts import Artifact, ArtifactStore
from flows.build_dictionary import build_dictionary
from tasks.sharded import TASKS
from tasks.shards import ShardError
from tests.miniature import Built, make

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("prefect"),
    pytest.mark.usefixtures("prefect_server"),
]


def shards(root: str, stage: str) -> dict[str, Artifact]:
    return {a.fingerprint: a for a in ArtifactStore(root).of_stage(f"{stage}-shard")}


@pytest.mark.parametrize(
    ("stage", "task"), [(name, TASKS[name].make) for name in ("embeddings", "senses")]
)
def test_it_is_named_the_rest_completes_and_then_it_alone_is_made(
    tmp_path, monkeypatch, stage, task
):
    monkeypatch.setattr(task, "retry_delay_seconds", [0, 0, 0])
    monkeypatch.setattr(task, "retry_jitter_factor", None)
    calm = make(tmp_path)
    content = Built(calm).dictionary().record.content
    wanted = shards(calm.root_uri, stage)
    config = calm.model_copy(update={"root_uri": str(tmp_path / "broken")})
    lost = sorted(wanted)[0]
    cause = Path(config.root_uri) / f"{stage}-shard" / lost
    cause.parent.mkdir(parents=True)
    cause.write_text("A file, where the shard is to be published.")

    with pytest.raises(ShardError, match=rf"^1 of {len(wanted)} {stage} tasks failed: .*{lost}"):
        build_dictionary(config)
    kept = shards(config.root_uri, stage)
    assert set(kept) == set(wanted) - {lost}, "the rest is complete"
    assert not ArtifactStore(config.root_uri).of_stage(stage)

    cause.unlink()
    made = build_dictionary(config)
    assert ArtifactStore.open(made.dictionary).record.content == content
    after = shards(config.root_uri, stage)
    assert {name: after[name].record for name in kept} == {n: a.record for n, a in kept.items()}
    assert after[lost].record.content == wanted[lost].record.content
