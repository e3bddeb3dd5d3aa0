import numpy as np
import pytest

from dskd_core.shards import cut


@pytest.mark.parametrize("max_weight", [1, 5, 17, 1000])
def test_shards_cover_every_item_once_and_keep_the_limit(max_weight):
    weights = np.random.default_rng(0).integers(0, 12, size=200)
    shards = cut(weights, max_weight)
    assert [i for s in shards for i in range(s.start, s.stop)] == list(range(200))
    for shard in shards:
        load = weights[shard.start : shard.stop].sum()
        assert load <= max_weight or (weights[shard.start : shard.stop] > 0).sum() == 1
    assert [s.index for s in shards] == list(range(len(shards)))
    assert {s.n_shards for s in shards} == {len(shards)}


def test_nothing_to_cut_makes_no_shards():
    assert cut([], 8) == []


def test_names_sort_by_index():
    names = [shard.name for shard in cut([1] * 120, 1)]
    assert names == sorted(names)
    assert len(set(names)) == 120
