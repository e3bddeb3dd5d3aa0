import numpy as np
from scipy import stats

from dskd_core.embeddings.sampling import hash_limits, occurrence_hashes, smallest_per_token


def _hashes(n: int, seed: int = 0) -> np.ndarray:
    keys = np.full(n, 12345, dtype=np.uint64)
    return occurrence_hashes(keys, np.arange(n), seed)


def test_at_most_max_occurrences_of_a_token_are_kept():
    tokens = np.array([1] * 50 + [2] * 3)
    kept = smallest_per_token(tokens, _hashes(53), 10)
    assert np.bincount(tokens[kept]).tolist() == [0, 10, 3]


def test_the_sample_of_a_union_is_the_sample_of_the_samples_of_its_parts():
    rng = np.random.default_rng(0)
    tokens, hashes = rng.integers(0, 5, 1000), _hashes(1000)
    whole = set(smallest_per_token(tokens, hashes, 20))
    for n_parts in (1, 3, 7):
        parts = np.array_split(rng.permutation(1000), n_parts)
        survivors = np.concatenate([p[smallest_per_token(tokens[p], hashes[p], 20)] for p in parts])
        again = survivors[smallest_per_token(tokens[survivors], hashes[survivors], 20)]
        assert set(again) == whole


def test_every_position_is_equally_likely_to_be_kept():
    n, cap = 1000, 100
    hits = np.zeros(n)
    for seed in range(200):
        hits[smallest_per_token(np.zeros(n, dtype=int), _hashes(n, seed), cap)] += 1
    tenths = hits.reshape(10, -1).sum(axis=1)
    assert stats.chisquare(tenths).pvalue > 0.001


def test_neighbouring_positions_and_documents_have_unrelated_hashes():
    keys = np.repeat(np.array([7, 8], dtype=np.uint64), 2000)
    hashes = occurrence_hashes(keys, np.tile(np.arange(2000), 2), 0).astype(np.float64)
    one, other = hashes[:2000], hashes[2000:]
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.1
    assert abs(np.corrcoef(one[:-1], one[1:])[0, 1]) < 0.1


def test_the_limit_of_a_token_is_the_largest_hash_it_keeps():
    tokens = np.array([4, 4, 9, 4])
    hashes = np.array([30, 10, 7, 20], dtype=np.uint64)
    unique, counts, limits = hash_limits(tokens, hashes, 2)
    assert unique.tolist() == [4, 9]
    assert counts.tolist() == [2, 1]
    assert limits.tolist() == [20, 7]
