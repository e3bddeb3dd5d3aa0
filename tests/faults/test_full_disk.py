"""A disk that fills up while something is written: said so, nothing left, and the next run is fine.

The disks are small tmpfs mounts.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import save_file

from dskd_core.config import PipelineConfig
from dskd_core.store.arrays import put_array
from dskd_core.store.artifacts import PARTIAL, Artifact, ArtifactStore, Draft, Work
from dskd_core.store.verification import verify
from tests.faults.disks import mounted
from tests.faults.driver import live
from tests.faults.lives import lives
from tests.miniature import make

WORK = Work("senses", {"k": 5}, {})
NOISE = np.random.default_rng(0).integers(0, 256, 3 << 20, dtype=np.uint8)


def _chunks(draft: Draft) -> None:
    put_array(draft.write_group("senses.zarr"), "rows", NOISE, chunk_bytes=1 << 18)


def _through_zarr(draft: Draft) -> None:
    draft.write_group("senses.zarr").create_array("rows", data=NOISE, chunks=(1 << 18,))


def _table(draft: Draft) -> None:
    draft.write_table("rows.parquet", pa.table({"rows": NOISE}))


def _query(draft: Draft) -> None:
    sql = "COPY (SELECT random() AS x FROM range(400000)) TO '{}' (FORMAT parquet)"
    with duckdb.connect() as connection:
        connection.execute("SELECT setseed(0.5)")
        connection.execute("SET threads = 1")
        connection.execute(sql.format(draft.path("rows.parquet")))


def _weights(draft: Draft) -> None:
    save_file({"rows": NOISE}, draft.path("state.safetensors"))


def _json(draft: Draft) -> None:
    draft.write_json("rows.json", NOISE[: 1 << 19].tolist())


WRITERS = [_chunks, _through_zarr, _table, _query, _weights, _json]


def publish(store: ArtifactStore, write: Callable[[Draft], None]) -> Artifact:
    with store.publish(WORK) as draft:
        write(draft)
    return store.get(WORK.stage, WORK.fingerprint)


@pytest.mark.parametrize("write", WRITERS)
def test_a_full_disk_is_named_and_nothing_is_left_of_the_draft(write, tmp_path):
    calm = publish(ArtifactStore(str(tmp_path / "calm")), write)
    with mounted(tmp_path / "small", "1m") as resize:
        store = ArtifactStore(str(tmp_path / "small"))
        with pytest.raises(OSError, match=r"The disk of .*small/senses.* is full: [\d,]+ of 1,0"):
            publish(store, write)
        assert list(Path(store.root_uri).rglob("*")) == [Path(store.root_uri, "senses")]
        resize("16m")
        assert publish(store, write).record.files == calm.record.files


def test_a_disk_that_is_full_when_the_record_is_due_publishes_nothing(tmp_path):
    def fill_up(draft: Draft) -> None:
        draft.write_json("facts.json", 1)
        with pytest.raises(OSError, match="No space"), (tmp_path / "small/filler").open("wb") as f:
            f.write(NOISE)

    with mounted(tmp_path / "small", "1m"):
        store = ArtifactStore(str(tmp_path / "small"))
        with pytest.raises(OSError, match=r"is full: 0 of 1,048,576 bytes are free .*run again"):
            publish(store, fill_up)
        assert store.find(WORK) is None
        assert list((tmp_path / "small/senses").iterdir()) == []
        (tmp_path / "small/filler").unlink()
        assert publish(store, partial(Draft.write_json, name="facts.json", value=1))


@pytest.mark.slow
def test_a_pipeline_whose_disk_is_enlarged_again_and_again_ends_with_the_same_bytes(tmp_path):
    evaluation = {"arms": ["kd", "paper"], "seeds": [0], "n_resamples": 20}
    calm = make(tmp_path, evaluation=evaluation)
    with lives(live, seconds=120) as life, mounted(tmp_path / "small", "100k") as resize:
        assert life(calm) == 0
        small = calm.model_copy(update={"root_uri": str(tmp_path / "small")})
        n_failed, kilobytes = 0, 100
        while life(small, None, tmp_path / "words"):
            words = (tmp_path / "words").read_text("utf-8")
            assert f"The disk of {small.root_uri}" in words, words
            assert "Nothing is published" in words
            assert not list(Path(small.root_uri).glob(f"*/{PARTIAL}*"))
            n_failed, kilobytes = n_failed + 1, kilobytes * 5 // 4
            resize(f"{kilobytes}k")
        assert n_failed > 5
        assert contents(small) == contents(calm)


def contents(config: PipelineConfig) -> dict[str, str]:
    store, found = ArtifactStore(config.root_uri), {}
    for stage in sorted(path.name for path in Path(config.root_uri).iterdir()):
        for artifact in store.of_stage(stage):
            assert verify(artifact.uri).problems == []
            found[f"{stage}/{artifact.fingerprint}"] = artifact.record.content
    return found
