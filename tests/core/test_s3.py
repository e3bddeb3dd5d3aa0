"""Artifacts under ``s3://``, on a real object store that a package ships, on loopback."""

import numpy as np
import pyarrow as pa
import pytest

from dskd_core import storage
from dskd_core.arrays import get_array, put_array
from dskd_core.artifacts import RECORD, ArtifactStore, Work
from dskd_core.errors import ConfigError
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
    assert type(group.store).__name__ == "ObjectStore"
    np.testing.assert_array_equal(get_array(group, "rows"), rows)
    np.testing.assert_array_equal(get_array(group, "rows", slice(50, 99)), rows[50:99])


def test_an_unknown_reader_is_refused(bucket, monkeypatch):
    monkeypatch.setenv("DSKD_S3_READER", "boto")
    with pytest.raises(ConfigError, match="'boto'; set s3fs or obstore"):
        storage.zarr_store(f"{bucket}/obstore/senses.zarr")


def test_an_upload_that_breaks_off_is_no_artifact(bucket, monkeypatch):
    store = ArtifactStore(f"{bucket}/broken")
    fs, _ = storage.filesystem(bucket)

    def put_file(local, remote, **_):
        if remote.endswith(RECORD):
            raise OSError("connection lost")
        type(fs).put_file(fs, local, remote)

    monkeypatch.setattr(fs, "put_file", put_file, raising=False)
    with pytest.raises(OSError, match="connection lost"), store.publish(WORK) as draft:
        draft.write_table("pairs.parquet", pa.table({"word": ["a"]}))
    assert store.find(WORK) is None


@pytest.mark.slow
def test_the_dictionary_has_the_same_bytes_as_one_built_in_a_folder(bucket, tmp_path):
    local = Built(make(tmp_path))
    remote = Built(local.config.model_copy(update={"root_uri": f"{bucket}/miniature"}))
    assert remote.dictionary().uri.startswith("s3://")
    assert remote.dictionary().record.files == local.dictionary().record.files
