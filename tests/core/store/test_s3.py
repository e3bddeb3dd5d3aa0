"""Artifacts under ``s3://``, on a real object store that a package ships, on loopback."""

import tempfile
import time

import numpy as np
import pyarrow as pa
import pytest

from dskd_core.errors import ConfigError
from dskd_core.store import places
from dskd_core.store.arrays import get_array, put_array
from dskd_core.store.artifacts import RECORD, ArtifactStore, Work
from dskd_core.store.garbage import find_garbage, sweep
from tests.miniature import Built, make
from tests.weed import needs_weed, serving

pytestmark = needs_weed
WORK = Work("senses", {"k": 5}, {"embeddings": "0123456789abcdef"})


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """The URI of a bucket in a server of its own."""
    with serving(tmp_path_factory.mktemp("weed")) as weed:
        yield weed.uri


def test_what_is_published_is_read_back_from_the_object_store(bucket):
    store = ArtifactStore(f"{bucket}/published")
    assert store.find(WORK) is None
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    with store.publish(WORK) as draft:
        put_array(draft.write_group("senses.zarr"), "rows", rows)
        draft.write_table("pairs.parquet", pa.table({"word": ["a", "b"]}))
        draft.counts["rows"] = 4
    artifact = store.find(WORK)
    assert artifact is not None
    assert artifact.record.counts == {"rows": 4}
    np.testing.assert_array_equal(get_array(artifact.group("senses.zarr"), "rows"), rows)
    assert artifact.query("SELECT count(*) AS n FROM t", t="pairs.parquet").to_pylist() == [
        {"n": 2}
    ]
    assert (artifact.folder() / "pairs.parquet").exists()
    assert [a.fingerprint for a in store.of_stage("senses")] == [WORK.fingerprint]
    store.discard(artifact)
    assert store.find(WORK) is None


def test_arrays_are_read_through_obstore_where_the_environment_says_so(bucket, monkeypatch):
    pytest.importorskip("obstore")
    monkeypatch.setenv("DSKD_S3_READER", "obstore")
    store = ArtifactStore(f"{bucket}/obstore")
    rows = np.random.default_rng(0).normal(size=(300, 7))
    with store.publish(WORK) as draft:
        put_array(draft.write_group("senses.zarr"), "rows", rows, chunk_bytes=1000)
    group = store.get(WORK.stage, WORK.fingerprint).group("senses.zarr")
    assert type(group.store.unchecked).__name__ == "ObjectStore"
    np.testing.assert_array_equal(get_array(group, "rows"), rows)
    np.testing.assert_array_equal(get_array(group, "rows", slice(50, 99)), rows[50:99])


def test_an_unknown_reader_is_refused(bucket, monkeypatch):
    monkeypatch.setenv("DSKD_S3_READER", "boto")
    with pytest.raises(ConfigError, match="'boto'; set s3fs or obstore"):
        places.zarr_store(f"{bucket}/obstore/senses.zarr")


def test_an_upload_that_breaks_off_is_no_artifact(bucket, monkeypatch):
    store = ArtifactStore(f"{bucket}/broken")
    fs, _ = places.filesystem(bucket)

    def put_file(local, remote, **_):
        if remote.endswith(RECORD):
            raise OSError("connection lost")
        type(fs).put_file(fs, local, remote)

    monkeypatch.setattr(fs, "put_file", put_file, raising=False)
    with pytest.raises(OSError, match="connection lost"), store.publish(WORK) as draft:
        draft.write_table("pairs.parquet", pa.table({"word": ["a"]}))
    assert store.find(WORK) is None


def test_broken_uploads_are_swept_and_published_work_is_not(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    root, tomorrow = f"{bucket}/garbage", time.time() + 25 * 3600
    store = ArtifactStore(root)
    with store.publish(WORK) as draft:
        draft.write_json("x.json", 1)
    fs, path = places.filesystem(root)
    for name in ("senses/0123456789abcdef/a/b", "words/0123456789abcdef/c", "senses/notes/d"):
        fs.pipe_file(f"{path}/{name}", b"x" * 10)
    fs.pipe_file("dskd/elsewhere/senses/0123456789abcdef/e", b"x")
    assert find_garbage(root, older_than_hours=24) == [], "all of it is young"
    found = find_garbage(root, older_than_hours=24, now=tomorrow)
    assert [(g.kind, g.uri, g.n_bytes) for g in found] == [
        ("half", f"{root}/senses/0123456789abcdef", 10),
        ("half", f"{root}/words/0123456789abcdef", 10),
    ]
    fs.pipe_file(f"{path}/words/0123456789abcdef/record.json", b"{}")  # published meanwhile
    assert sweep(found) == found[:1]
    left = {name.removeprefix("dskd/") for name in fs.find("dskd")}
    assert "garbage/words/0123456789abcdef/c" in left
    assert "garbage/senses/notes/d" in left
    assert "elsewhere/senses/0123456789abcdef/e" in left
    assert not any(name.startswith("garbage/senses/0123456789abcdef") for name in left)
    assert store.find(WORK) is not None


def unfinished(bucket, name, monkeypatch, tmp_path):
    """A root where an upload without its record is found, and how its writer goes on."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store, fs = ArtifactStore(f"{bucket}/{name}"), places.filesystem(bucket)[0]
    uri = store.uri(WORK)
    fs.pipe_file(f"{uri.removeprefix('s3://')}/a.json", b"1\n")
    [found] = find_garbage(store.root_uri, older_than_hours=24, now=time.time() + 25 * 3600)

    def goes_on():
        with store.publish(WORK) as draft:
            draft.write_json("a.json", 1)
            draft.write_json("b.json", 2)

    return store, fs, found, goes_on


@pytest.mark.parametrize("moment", ["rm_file", "pipe_file", "after"])
def test_an_upload_that_goes_on_while_it_is_swept_is_refused_or_whole(
    bucket, monkeypatch, tmp_path, moment
):
    store, fs, found, goes_on = unfinished(bucket, f"race-{moment}", monkeypatch, tmp_path)
    whole, refused = [], []

    def go_on(*_, **__):
        monkeypatch.undo()
        try:
            goes_on()
        except OSError as error:
            refused.append(str(error))
        else:
            whole.append(True)

    def raced(*args, **options):
        go_on()
        return getattr(fs, moment)(*args, **options)

    if moment == "after":
        assert sweep([found]) == [found]
        go_on()
    else:
        monkeypatch.setattr(fs, moment, raced, raising=False)
        sweep([found])
    artifact = store.find(WORK)
    assert bool(whole) == (artifact is not None)
    if artifact:
        assert artifact.read_bytes("a.json") + artifact.read_bytes("b.json") == b"1\n2\n"
    else:
        assert "A sweep took the unfinished upload" in refused[0]
        goes_on()
        assert store.find(WORK) is not None
    assert not fs.exists(f"{store.uri(WORK)}/swept")


def test_a_large_upload_that_broke_off_is_swept(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    root = f"{bucket}/large"
    fs, _ = places.filesystem(root)
    for name in ("senses/0123456789abcdef/big", "notes/big"):
        fs.call_s3("create_multipart_upload", Bucket="dskd", Key=f"large/{name}")
    assert find_garbage(root, older_than_hours=24) == []
    found = find_garbage(root, older_than_hours=24, now=time.time() + 25 * 3600)
    assert [(g.kind, g.uri) for g in found] == [("upload", f"{root}/senses/0123456789abcdef/big")]
    assert sweep(found) == found
    assert [upload["Key"] for upload in fs.list_multipart_uploads("dskd")] == ["large/notes/big"]


@pytest.mark.parametrize("place", ["s3://other/root", "s3://dskd-evil/root", "s3://dskd/other"])
def test_another_bucket_or_prefix_is_refused_before_it_is_asked(bucket, monkeypatch, place):
    monkeypatch.setenv("DSKD_ROOTS", f"{bucket}/mine")
    ArtifactStore(f"{bucket}/mine/artifacts").of_stage("senses")
    for use in (ArtifactStore, places.exists, places.read_bytes, places.zarr_store):
        with pytest.raises(ConfigError, match="none of the places this worker may"):
            use(place)


@pytest.mark.slow
def test_the_dictionary_has_the_same_bytes_as_one_built_in_a_folder(bucket, tmp_path):
    local = Built(make(tmp_path))
    remote = Built(local.config.model_copy(update={"root_uri": f"{bucket}/miniature"}))
    assert remote.dictionary().uri.startswith("s3://")
    assert remote.dictionary().record.files == local.dictionary().record.files
