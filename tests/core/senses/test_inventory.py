from pathlib import Path

import numpy as np
import pytest
import zarr

from dskd_core.senses import inventory
from dskd_core.senses.inventory import SenseInventory, join_shards, load_senses, write_shard
from dskd_core.senses.kmeans import Clustering
from dskd_core.store.artifacts import ArtifactStore, Work


def joined(folder: Path, parts: list[np.ndarray]) -> SenseInventory:
    """Join parts of one token each, whose senses have one embedding."""
    groups = []
    for token, centroids in enumerate(parts):
        n = len(centroids)
        senses = [Clustering(centroids, np.arange(n, dtype=np.int32), np.ones(n, np.int32), 0.0)]
        groups.append(zarr.create_group(str(folder / f"part-{token}.zarr")))
        write_shard(groups[-1], np.array([token], np.int32), np.array([n]), senses)
    store, work = ArtifactStore(str(folder / "root")), Work("senses", {}, {})
    attributes = {"hidden_size": parts[0].shape[1], "key": "next"}
    with store.publish(work) as draft:
        largest = float(np.abs(np.concatenate(parts)).max())
        join_shards(draft, groups, largest=largest, attributes=attributes)
    return load_senses(store.get(work.stage, work.fingerprint))


@pytest.mark.parametrize(("largest", "dtype"), [(65504.0, np.float16), (-7e4, np.float32)])
def test_centroids_that_float16_cannot_hold_are_kept_in_float32(tmp_path, largest, dtype):
    centroids = np.array([[1.0, largest]], dtype=np.float32)
    found = joined(tmp_path, [centroids]).centroids
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, centroids)


@pytest.mark.parametrize("chunk_rows", [1, 2, 3, 100])
def test_parts_are_joined_end_to_end_whatever_the_chunks(tmp_path, monkeypatch, chunk_rows):
    monkeypatch.setattr(inventory, "_CHUNK_BYTES", chunk_rows * 2 * 2)
    parts = np.split(np.arange(22, dtype=np.float32).reshape(11, 2), [1, 6, 8])
    found = joined(tmp_path, parts)
    assert found.centroids.tolist() == [[2.0 * i, 2.0 * i + 1] for i in range(11)]
    assert found.offsets.tolist() == [0, 1, 6, 8, 11]
    assert found.senses_of(1).tolist() == parts[1].tolist()
