import asyncio
import hashlib
import json
import os
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from zarr.storage import LocalStore

from dskd_core.config import SensesConfig
from dskd_core.errors import ArtifactError, ConfigError
from dskd_core.store.artifacts import RECORD, ArtifactStore, Work, fingerprint_of

WORK = Work("senses", {"k": 5}, {"corpus": "abc"})


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(str(tmp_path / "root"))


def publish(store, work, text="content"):
    with store.publish(work) as draft:
        draft.path("a.txt").write_text(text)
        draft.counts["n_rows"] = 3
        draft.report["skipped"] = {"empty": 1}
    return store.find(work)


def names(store, stage="senses"):
    folder = Path(store.root_uri) / stage
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


def test_published_work_is_found_under_its_fingerprint_with_its_record(store):
    assert store.find(WORK) is None
    artifact = publish(store, WORK)
    assert artifact.uri == f"{store.root_uri}/senses/{WORK.fingerprint}"
    assert artifact.record.config == {"k": 5}
    assert artifact.record.inputs == {"corpus": "abc"}
    assert artifact.record.counts == {"n_rows": 3}
    assert artifact.record.report == {"skipped": {"empty": 1}}
    assert artifact.record.n_bytes == len("content")
    assert names(store) == [WORK.fingerprint]


def test_the_record_holds_the_sha256_of_every_file(store):
    with store.publish(WORK) as draft:
        draft.write_table("rows.parquet", pa.table({"a": [1, 2]}))
        draft.write_json("facts.json", {"a": "é"})
        draft.write_group("x.zarr").create_array("v", data=np.arange(5))
    artifact = store.find(WORK)
    folder = artifact.folder()
    on_disk = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert set(artifact.record.files) == on_disk - {RECORD}
    for name, entry in artifact.record.files.items():
        assert entry["sha256"] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert artifact.group("x.zarr")["v"][:].tolist() == [0, 1, 2, 3, 4]
    assert artifact.query("SELECT sum(a) AS s FROM t", t="rows.parquet")["s"].to_pylist() == [3]


def test_a_draft_that_fails_leaves_no_artifact(store):
    def fail():
        with store.publish(WORK) as draft:
            draft.path("a.txt").write_text("half")
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        fail()
    assert store.find(WORK) is None
    assert names(store) == []


def test_chunks_still_on_their_way_when_another_fails_do_not_bring_the_draft_back(
    store, monkeypatch
):
    late, put = [], LocalStore.set

    async def put_slowly(self, key, value):
        if key == "v/c/0":
            raise OSError("no luck")
        if key.startswith("v/c"):
            await asyncio.sleep(0.2)
            late.append(key)
        await put(self, key, value)

    monkeypatch.setattr(LocalStore, "set", put_slowly)
    with pytest.raises(OSError, match="no luck"), store.publish(WORK) as draft:
        draft.write_group("x.zarr").create_array("v", data=np.arange(1, 10), chunks=(1,))
    n_late = len(late)
    assert n_late, "some were under way"
    time.sleep(0.5)
    assert len(late) == n_late, "the draft is removed after the last of them"
    assert names(store) == []


def test_nothing_is_written_into_a_draft_after_its_end(store):
    with store.publish(WORK) as draft:
        array = draft.write_group("x.zarr").create_array("v", data=np.arange(9))
    with pytest.raises(FileNotFoundError, match="finished or given up"):
        array[:] = 7
    assert store.find(WORK).group("x.zarr")["v"][:].tolist() == list(range(9))


def test_a_draft_that_is_killed_leaves_no_artifact_and_does_not_hinder_the_next(store):
    script = textwrap.dedent(
        """
        import os, signal, sys
        from dskd_core.store.artifacts import ArtifactStore, Work
        store = ArtifactStore(sys.argv[1])
        with store.publish(Work("senses", {"k": 5}, {"corpus": "abc"})) as draft:
            draft.path("a.txt").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    repository = Path(__file__).parents[3]
    run = subprocess.run(
        [sys.executable, "-c", script, store.root_uri], cwd=repository, check=False
    )
    assert run.returncode == -9
    assert store.find(WORK) is None
    assert store.of_stage("senses") == []
    assert all(name.startswith(".partial-") for name in names(store))
    assert publish(store, WORK).record.counts == {"n_rows": 3}


def test_of_two_writers_of_the_same_work_the_first_stays_and_nothing_is_left_over(store):
    with store.publish(WORK) as slow:
        slow.path("a.txt").write_text("content")
        first = publish(store, WORK)
    assert store.find(WORK).record == first.record
    assert names(store) == [WORK.fingerprint]


def test_a_folder_without_a_record_is_no_artifact(store):
    artifact = publish(store, WORK)
    (Path(artifact.uri) / RECORD).unlink()
    assert store.find(WORK) is None
    with pytest.raises(ArtifactError, match="delete the folder and run its stage again"):
        store.open(artifact.uri)


def test_a_torn_record_is_refused_by_name(store):
    artifact = publish(store, WORK)
    (Path(artifact.uri) / RECORD).write_text('{"stage": "sen')
    with pytest.raises(ArtifactError, match=WORK.fingerprint):
        store.open(artifact.uri)


@pytest.mark.parametrize(
    "other",
    [
        replace(WORK, config={"k": 6}),
        replace(WORK, inputs={"corpus": "abd"}),
        replace(WORK, stage="sensez"),
        replace(WORK, version=2),
    ],
)
def test_whatever_changes_the_result_changes_the_fingerprint(other):
    assert other.fingerprint != WORK.fingerprint


def test_a_fingerprint_does_not_depend_on_the_order_of_keys():
    assert fingerprint_of({"a": 1, "b": [1, 2]}) == fingerprint_of({"b": [1, 2], "a": 1})
    assert fingerprint_of([1, 2]) != fingerprint_of([2, 1])


def test_content_is_equal_for_equal_bytes_whenever_and_wherever_made(store, tmp_path):
    other = ArtifactStore(str(tmp_path / "other"))
    one, two = publish(store, WORK), publish(other, replace(WORK, config={"k": 6}))
    assert one.record.content == two.record.content
    assert one.record.content != publish(store, replace(WORK, version=3), "other").record.content


def test_a_table_is_the_same_bytes_each_time(store, tmp_path):
    table = pa.table({"a": list(range(1000)), "b": ["x"] * 1000})
    contents = []
    for version in (1, 2):
        with store.publish(replace(WORK, version=version)) as draft:
            draft.write_table("t.parquet", table)
        contents.append(store.find(replace(WORK, version=version)).record.content)
    assert contents[0] == contents[1]


@pytest.mark.parametrize("name", ["../other", "..", "a/../../b", "/etc/passwd", ""])
def test_a_file_name_that_climbs_out_of_the_artifact_is_refused(store, name):
    with pytest.raises(ConfigError, match="is not a plain name"):
        publish(store, WORK).file_uri(name)


def test_a_fingerprint_that_climbs_out_of_the_store_is_refused(store):
    with pytest.raises(ConfigError, match="is not a plain name"):
        store.get("senses", "..")


def test_an_absent_artifact_is_refused_and_the_present_ones_are_named(store):
    with pytest.raises(ArtifactError, match="the senses there are none"):
        store.get("senses", "0123")
    publish(store, WORK)
    with pytest.raises(ArtifactError, match=f"the senses there are {WORK.fingerprint}"):
        store.get("senses", "0123")
    assert store.get("senses", WORK.fingerprint).record.stage == "senses"


def test_artifacts_of_a_stage_are_listed_oldest_first_without_drafts(store):
    works = [replace(WORK, version=v) for v in (5, 4)]
    for work in works:
        publish(store, work)
        time.sleep(0.01)
    (Path(store.root_uri) / "senses/.partial-x").mkdir()
    assert [a.fingerprint for a in store.of_stage("senses")] == [w.fingerprint for w in works]


def test_a_record_is_json_that_names_its_tools(store):
    record = json.loads((Path(publish(store, WORK).uri) / RECORD).read_text())
    assert {"python", "numpy", "zarr"} <= set(record["versions"])
    assert SensesConfig().model_dump(mode="json")["n_senses"] == 5


def test_a_draft_left_a_week_ago_is_swept_when_its_work_is_done_again(store):
    left = Path(store.root_uri) / "senses" / f".partial-{WORK.fingerprint}-0ld"
    fresh = left.with_name(f".partial-{WORK.fingerprint}-new")
    for folder in (left, fresh):
        folder.mkdir(parents=True)
    week = 8 * 24 * 3600
    os.utime(left, (time.time() - week, time.time() - week))
    publish(store, WORK)
    assert names(store) == [fresh.name, WORK.fingerprint]


def test_every_file_and_folder_is_on_the_disk_before_its_name_is(store, monkeypatch):
    flushed, rename = [], Path.rename

    def fsync(descriptor):
        flushed.append(os.path.realpath(f"/proc/self/fd/{descriptor}"))

    def watched(path, target):
        flushed.append("renamed")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", watched)
    with store.publish(WORK) as draft:
        draft.write_group("x.zarr").create_array("v", data=np.arange(5))
    *before, renamed, after = flushed
    made = store.find(WORK).folder()
    wanted = [draft.folder, *(draft.folder / p.relative_to(made) for p in made.rglob("*"))]
    assert renamed == "renamed"
    assert after == str(made.parent)
    assert sorted(before) == sorted(map(str, wanted))


def part(store, number, precision, gpu):
    work = Work("embeddings-shard", {"batches": [number, number + 1]}, {})
    with store.publish(work) as draft:
        draft.computed(precision, f"CUDA sm_90 ({gpu})")
    return store.find(work)


def test_shards_of_several_gpus_are_joined_and_told_of(store, caplog):
    parts = [part(store, n, "bfloat16", gpu) for n, gpu in enumerate(("H200", "H100", "H200"))]
    with store.publish(WORK) as draft:
        draft.computed_as(parts)
    record = store.find(WORK).record
    assert record.precision == "bfloat16"
    assert record.processor == "CUDA sm_90 (H100), CUDA sm_90 (H200)"
    [said] = caplog.messages
    assert "CUDA sm_90 (H100) (1) and CUDA sm_90 (H200) (2)" in said


def test_shards_of_several_precisions_are_not_joined(store):
    parts = [part(store, 0, "bfloat16", "H200"), part(store, 1, "float16", "T4")]
    parts.append(part(store, 2, "bfloat16", "H200"))
    expected = r"bfloat16 \(2\) and float16 \(1\), .*delete those in float16 .*" + parts[1].uri
    with pytest.raises(ArtifactError, match=expected), store.publish(WORK) as draft:
        draft.computed_as(parts)
    assert store.find(WORK) is None
