"""What Eq. 1 of the paper says of one token."""

import numpy as np
import pytest

from dskd_core.config import SensesConfig
from dskd_core.senses.kmeans import cluster


def rows_of(n, d=12, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


@pytest.mark.parametrize("k", [5, 10])
def test_a_token_has_k_senses_of_the_teachers_width(k):
    found = cluster([rows_of(200)], [1], SensesConfig(n_senses=k, device="cpu"))[0]
    assert found.centroids.shape == (k, 12)


@pytest.mark.parametrize("n", [1, 4, 5])
def test_a_token_with_at_most_k_embeddings_keeps_its_rows(n):
    rows = rows_of(n)
    found = cluster([rows], [1], SensesConfig(n_senses=5, device="cpu"))[0]
    np.testing.assert_array_equal(found.centroids, rows)


def test_one_embedding_more_than_k_is_clustered():
    found = cluster([rows_of(6)], [1], SensesConfig(n_senses=5, device="cpu"))[0]
    assert sorted(found.counts.tolist()) == [1, 1, 1, 1, 2]


def test_senses_minimise_the_sum_of_squared_distances():
    """All 3^8 assignments of nine rows are tried: the best of them is what k-means finds."""
    rows = rows_of(9, d=2, seed=4)
    best = np.inf
    for code in range(3**8):
        labels = np.array([0, *(code // 3**i % 3 for i in range(8))])
        means = [rows[labels == j].mean(0) for j in range(3) if (labels == j).any()]
        cost = sum(min(((x - m) ** 2).sum() for m in means) for x in rows)
        best = min(best, cost)
    found = cluster([rows], [1], SensesConfig(n_senses=3, device="cpu", n_restarts=20))[0]
    assert found.inertia == pytest.approx(best, rel=1e-5)


def test_a_sense_is_the_mean_of_its_embeddings():
    rows = rows_of(50)
    found = cluster([rows], [1], SensesConfig(n_senses=5, device="cpu"))[0]
    for sense, centroid in enumerate(found.centroids):
        np.testing.assert_allclose(centroid, rows[found.labels == sense].mean(0), atol=1e-6)


def test_the_default_k_is_mistrals_and_restarts_are_ten():
    assert (SensesConfig().n_senses, SensesConfig().n_restarts) == (5, 10)
