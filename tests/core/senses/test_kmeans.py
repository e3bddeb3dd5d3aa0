import numpy as np
import pytest

from dskd_core.config import SensesConfig
from dskd_core.errors import DataError
from dskd_core.senses import kmeans
from dskd_core.senses.kmeans import cluster, few_distinct, summarize

BACKENDS = ["torch", "sklearn"]


def blobs(n_rows, n_blobs=4, d=6, seed=0):
    """Rows around far-apart centres, so that one clustering is right beyond doubt."""
    rng = np.random.default_rng(seed)
    which = np.arange(n_rows) % n_blobs
    centres = 20.0 * rng.permutation(np.eye(max(n_blobs, d)))[:n_blobs, :d]
    return (centres[which] + rng.normal(size=(n_rows, d))).astype(np.float32), which


def naive_inertia(rows, centroids):
    return sum(min(((row - c) ** 2).sum() for c in centroids.astype(float)) for row in rows)


@pytest.mark.parametrize("backend", BACKENDS)
def test_well_separated_groups_are_found(backend):
    rows, which = blobs(43)
    found = cluster([rows], [5], SensesConfig(n_senses=4, backend=backend, device="cpu"))[0]
    assert found.counts.tolist() == [11, 11, 11, 10]
    for group in range(4):
        np.testing.assert_allclose(
            found.centroids[found.labels[which == group][0]],
            rows[which == group].mean(axis=0, dtype=np.float64),
            rtol=1e-5,
        )
        assert len(set(found.labels[which == group])) == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_centroids_are_means_and_inertia_is_the_sum_of_squared_distances(backend):
    rows = np.random.default_rng(1).normal(size=(200, 16)).astype(np.float32)
    found = cluster([rows], [9], SensesConfig(n_senses=5, backend=backend, device="cpu"))[0]
    for sense in range(5):
        members = rows[found.labels == sense].astype(np.float64)
        assert found.counts[sense] == len(members)
        np.testing.assert_allclose(found.centroids[sense], members.mean(axis=0), atol=1e-6)
    assert found.inertia == pytest.approx(naive_inertia(rows, found.centroids), rel=1e-3)


def test_the_torch_backend_ends_where_no_row_wants_to_move():
    rows = np.random.default_rng(2).normal(size=(300, 12)).astype(np.float32)
    found = cluster([rows], [1], SensesConfig(n_senses=6, device="cpu", max_iterations=500))[0]
    squared = ((rows[:, None].astype(float) - found.centroids[None]) ** 2).sum(-1)
    np.testing.assert_array_equal(squared.argmin(1), found.labels)


@pytest.mark.parametrize(("n", "k", "d"), [(60, 3, 8), (300, 5, 32), (600, 10, 24)])
def test_torch_is_as_good_as_the_reference(n, k, d):
    rng = np.random.default_rng(n)
    points = [
        (rng.normal(size=(k + 3, d))[rng.integers(0, k + 3, n)] + rng.normal(size=(n, d))).astype(
            np.float32
        )
        for _ in range(6)
    ]
    ours = cluster(points, range(6), SensesConfig(n_senses=k, device="cpu"))
    theirs = cluster(points, range(6), SensesConfig(n_senses=k, backend="sklearn"))
    assert sum(c.inertia for c in ours) <= 1.01 * sum(c.inertia for c in theirs)


def test_the_largest_sense_comes_first_and_ties_go_to_the_earliest_row():
    rows = np.array([[5.0], [1.0], [9.0], [1.0], [5.0], [7.0]], np.float32)
    found = summarize(rows, np.array([3, 0, 2, 0, 3, 8], np.int32))
    assert found.centroids[:, 0].tolist() == [5.0, 1.0, 9.0, 7.0]
    assert found.labels.tolist() == [0, 1, 2, 1, 0, 3]
    assert found.counts.tolist() == [2, 2, 1, 1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_few_rows_are_their_own_senses_in_every_backend(backend):
    rows = np.array([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]], np.float32)
    found = cluster([rows], [3], SensesConfig(n_senses=3, backend=backend, device="cpu"))[0]
    np.testing.assert_array_equal(found.centroids, rows)
    assert (found.inertia, found.counts.tolist()) == (0.0, [1, 1, 1])


@pytest.mark.parametrize("backend", BACKENDS)
def test_duplicates_collapse_to_the_different_rows(backend):
    rows = np.array([[0.0, 0.0], [1.0, 1.0], [-0.0, 0.0], [1.0, 1.0], [1.0, 1.0]], np.float32)
    found = cluster([rows], [3], SensesConfig(n_senses=4, backend=backend, device="cpu"))[0]
    assert found.centroids.tolist() == [[1.0, 1.0], [0.0, 0.0]]
    assert (found.inertia, found.counts.tolist()) == (0.0, [3, 2])


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_outlier_among_duplicates_gets_its_own_sense(backend):
    rows = np.zeros((50, 3), np.float32)
    rows[7], rows[20], rows[31:33] = 1.0, 5.0, 9.0
    found = cluster([rows], [3], SensesConfig(n_senses=3, backend=backend, device="cpu"))[0]
    assert found.counts.tolist() == [47, 2, 1]
    assert found.inertia == pytest.approx(3 * (46 * (1 / 47) ** 2 + (46 / 47) ** 2), rel=1e-3)


def test_a_token_without_rows_has_no_senses():
    found = cluster([np.empty((0, 4), np.float32)], [3], SensesConfig(n_senses=3))[0]
    assert found.centroids.shape == (0, 4)


def test_no_tokens_give_no_clusterings():
    assert cluster([], [], SensesConfig(n_senses=3)) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_are_no_numbers_are_refused_by_name(bad):
    rows = np.ones((30, 4), np.float32)
    rows[17, 2] = bad
    with pytest.raises(DataError, match=r"Row 17 of token 99 .* extract the embeddings again"):
        cluster([rows], [99], SensesConfig(n_senses=3))


def test_rows_of_another_dtype_are_refused():
    with pytest.raises(DataError, match="float32"):
        cluster([np.ones((30, 4), np.float16)], [99], SensesConfig(n_senses=3))


def test_different_rows_are_counted_exactly():
    rows = np.array([[0.0], [1.0], [2.0], [0.0]], np.float32)
    assert few_distinct(rows, 2) is None
    assert few_distinct(rows, 3).tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_seed_fixes_the_result(backend):
    rows = np.random.default_rng(0).normal(size=(120, 8)).astype(np.float32)
    first, again, other = (
        cluster(
            [rows],
            [4],
            SensesConfig(n_senses=5, backend=backend, seed=s, n_restarts=1, device="cpu"),
        )[0]
        for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.labels, again.labels)
    assert not np.array_equal(first.labels, other.labels)


def test_senses_summed_by_several_threads_are_those_of_one(monkeypatch):
    points = [blobs(n, seed=n)[0] for n in (40, 3, 25, 60)]

    def found():
        return cluster(points, range(4), SensesConfig(n_senses=4, device="cpu"))

    alone = found()
    monkeypatch.setattr(kmeans, "_THREADED_BYTES", 0)
    monkeypatch.setattr(kmeans, "usable_processors", lambda: 3)
    for one, other in zip(alone, found(), strict=True):
        np.testing.assert_array_equal(one.centroids, other.centroids)
        np.testing.assert_array_equal(one.labels, other.labels)
        assert one.inertia == other.inertia


def test_the_sums_of_a_wide_token_are_those_of_all_its_rows_at_once():
    rows, labels = blobs(300, d=700)[0], np.random.default_rng(1).integers(0, 7, 300)
    found = summarize(rows, labels.astype(np.int32))
    order, starts = np.argsort(found.labels, kind="stable"), np.cumsum([0, *found.counts[:-1]])
    sums = np.add.reduceat(rows[order], starts, axis=0)
    expected = (sums / found.counts[:, None]).astype(np.float32)
    np.testing.assert_array_equal(found.centroids, expected)
    apart = rows.astype(float) - found.centroids[found.labels]
    assert found.inertia == pytest.approx((apart**2).sum(), rel=1e-6)
