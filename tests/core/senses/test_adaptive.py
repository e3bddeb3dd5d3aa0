import numpy as np
import pytest

from dskd_core.config import SensesConfig
from dskd_core.senses.adaptive import cluster_at_price, find_price, inertia_curves, worth
from dskd_core.senses.kmeans import cluster

CONFIG = SensesConfig(n_restarts=4, device="cpu", max_senses=6)
AT_MOST_FIVE = CONFIG.model_copy(update={"max_senses": 5})


def groups(n_groups, n_rows, d=6, seed=0):
    """Rows around ``n_groups`` far centres, with unit noise."""
    rng = np.random.default_rng(seed)
    centres = 30.0 * np.eye(d)[:n_groups]
    return (centres[np.arange(n_rows) % n_groups] + rng.normal(size=(n_rows, d))).astype(np.float32)


def naive_choice(curve, price):
    """Walk up from k = 1; give up after two values in a row past the best."""
    best = 1
    for k in range(2, len(curve) + 1):
        if k - best > 2:
            break
        if curve[k - 1] + price * k < curve[best - 1] + price * best:
            best = k
    return best


@pytest.mark.parametrize("n_groups", [1, 2, 3, 5])
def test_a_token_gets_a_sense_for_each_of_its_groups(n_groups):
    """A group apart lowers the inertia by thousands, half a group of noise by about a hundred."""
    found = cluster_at_price([groups(n_groups, 90)], [1], CONFIG, price=400.0)[0]
    assert len(found.counts) == n_groups


def test_a_price_of_nothing_takes_the_most_and_a_high_one_takes_one():
    rows = [groups(3, 60), groups(2, 4)]
    free = cluster_at_price(rows, [1, 2], AT_MOST_FIVE, price=0.0)
    dear = cluster_at_price(rows, [1, 2], AT_MOST_FIVE, price=1e9)
    assert [len(c.counts) for c in free] == [5, 4]
    assert [len(c.counts) for c in dear] == [1, 1]
    np.testing.assert_allclose(dear[0].centroids[0], rows[0].mean(0), rtol=1e-4, atol=1e-4)


def test_the_result_is_that_of_fixed_k_at_the_k_taken():
    rows = groups(3, 120, seed=4)
    found = cluster_at_price([rows], [8], CONFIG, price=400.0)[0]
    fixed = cluster([rows], [8], CONFIG.model_copy(update={"n_senses": 3}))[0]
    np.testing.assert_array_equal(found.labels, fixed.labels)
    np.testing.assert_array_equal(found.centroids, fixed.centroids)


def test_duplicates_and_absent_rows_take_no_more_senses_than_they_differ():
    rows = [np.repeat(groups(2, 2), 20, axis=0), np.empty((0, 6), np.float32)]
    found = cluster_at_price(rows, [1, 2], CONFIG, price=0.5)
    assert [len(c.counts) for c in found] == [2, 0]


def test_the_other_tokens_of_a_call_change_no_choice():
    rows = [groups(g, n, seed=g) for g, n in ((1, 40), (3, 33), (2, 70))]
    together = cluster_at_price(rows, [1, 2, 3], AT_MOST_FIVE, price=200.0)
    for i, whole in enumerate(together):
        alone = cluster_at_price([rows[i]], [i + 1], AT_MOST_FIVE, price=200.0)[0]
        np.testing.assert_array_equal(whole.centroids, alone.centroids)


def test_curves_take_what_clustering_at_a_price_takes():
    rows = [groups(g, 40, seed=g) for g in (1, 2, 4, 5)]
    curves = inertia_curves(rows, range(4), CONFIG)
    assert curves.shape == (4, 6)
    assert (np.diff(curves, axis=1) <= 0).all()
    for price in (1.0, 30.0, 300.0, 3000.0):
        found = cluster_at_price(rows, range(4), CONFIG, price=price)
        assert worth(curves, price).tolist() == [len(c.counts) for c in found]


def test_the_choice_agrees_with_a_walk():
    rng = np.random.default_rng(0)
    curves = np.sort(rng.exponential(size=(50, 8)), axis=1)[:, ::-1]
    for price in (0.0, 0.05, 0.2, 0.6, 3.0):
        assert worth(curves, price).tolist() == [naive_choice(c, price) for c in curves]


def test_the_price_is_the_least_that_keeps_the_budget():
    rng = np.random.default_rng(1)
    curves = np.sort(rng.exponential(size=(200, 8)), axis=1)[:, ::-1]
    fixed, run = np.full(200, 3), np.zeros(200, int)
    price = find_price(curves, fixed, run, share=1.0, sampled=1.0)
    assert worth(curves, price).sum() <= 600
    assert worth(curves, price * (1 - 1e-6)).sum() > 600 - 2


def test_one_price_gives_the_least_inertia_of_all_choices_with_as_many_senses():
    """Every choice of k for three tokens is tried; convex curves, where one price suffices."""
    curves = np.array([[9.0, 5.0, 3.0, 2.5], [7.0, 6.5, 6.2, 6.1], [20.0, 8.0, 4.0, 1.0]])
    for price in (0.2, 0.6, 1.5, 2.5, 4.5):
        k = worth(curves, price)
        own = curves[np.arange(3), k - 1].sum()
        for code in range(4**3):
            other = np.array([code % 4, code // 4 % 4, code // 16])
            if (other + 1).sum() <= k.sum():
                assert own <= curves[np.arange(3), other].sum() + 1e-12


def test_a_sample_keeps_two_standard_errors_free():
    """Runs that differ make the estimate uncertain; with everything sampled nothing is kept."""
    curves = np.repeat(np.array([[9.0, 1.0, 0.5], [9.0, 8.0, 7.9]]), 8, axis=0)
    runs, fixed = np.arange(16) // 2, np.full(16, 2)
    sure = find_price(curves, fixed, runs, share=0.8, sampled=1.0)
    unsure = find_price(curves, fixed, runs, share=0.8, sampled=0.01)
    assert worth(curves, sure).sum() <= 0.8 * 32
    assert unsure > sure
