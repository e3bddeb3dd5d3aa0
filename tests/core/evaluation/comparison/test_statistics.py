"""Paired differences and their intervals, against hand computation, loops and scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from dskd_core.evaluation.comparison.statistics import (
    Resampling,
    choose_clusters,
    compare,
    compare_macro,
    decide_verdict,
    seed_interval,
    sum_by_cluster,
)


def test_the_difference_weighs_clusters_by_their_positions():
    # Sums: arm 10 + 2 over 20 positions, yardstick 14 + 1: (12 - 15) / 20.
    found = compare(np.array([[10.0, 2.0]]), np.array([[14.0, 1.0]]), np.array([18.0, 2.0]))
    assert found.difference == pytest.approx(-0.15)
    assert found.by_seed == (pytest.approx(-0.15),)
    assert (found.seed_low, found.seed_high) == (None, None)
    assert not found.is_clear


def test_the_interval_over_seeds_is_students_t_by_hand():
    # mean 2, s = 1, S = 3, t_(0.975, 2) = 4.3027
    low, high = seed_interval(np.array([1.0, 2.0, 3.0]), confidence=0.95)
    assert low == pytest.approx(2.0 - 4.3027 / math.sqrt(3.0), abs=1e-4)
    assert high == pytest.approx(2.0 + 4.3027 / math.sqrt(3.0), abs=1e-4)


def naive_draws(gaps, counts, n, rng):
    """Draw seeds and clusters one by one; every drawn seed sees the same drawn clusters."""
    n_seeds, n_clusters = gaps.shape
    draws = []
    for _ in range(n):
        clusters = rng.integers(0, n_clusters, n_clusters)
        seeds = rng.integers(0, n_seeds, n_seeds)
        means = [gaps[s, clusters].sum() / counts[clusters].sum() for s in seeds]
        draws.append(np.mean(means))
    return np.array(draws)


def test_the_bootstrap_equals_a_naive_one_that_draws_seeds_and_clusters():
    rng = np.random.default_rng(4)
    counts = rng.integers(5, 50, 20).astype(float)
    kd = rng.normal(size=(3, 20)) * counts
    arm = kd - 0.2 * counts + rng.normal(size=(3, 1)) * 0.1 * counts + rng.normal(size=(3, 20))
    found = compare(arm, kd, counts, Resampling(n_resamples=20_000))
    draws = naive_draws(arm - kd, counts, 20_000, rng)
    low, high = np.quantile(draws, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.02 * (high - low) + 1e-3)
    assert found.high == pytest.approx(high, abs=0.02 * (high - low) + 1e-3)
    expected = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * draws.std(ddof=1)
    assert found.detectable == pytest.approx(expected, rel=0.03)


def test_with_one_seed_it_is_scipys_paired_percentile_bootstrap():
    rng = np.random.default_rng(5)
    counts = rng.integers(5, 50, 30).astype(float)
    gaps = rng.normal(0.1, 1.0, 30) * counts
    found = compare(gaps[None], np.zeros((1, 30)), counts, Resampling(n_resamples=20_000))
    theirs = stats.bootstrap(
        (gaps, counts),
        lambda g, n, axis: g.sum(axis=axis) / n.sum(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert found.low == pytest.approx(theirs.low, abs=0.03 * width)
    assert found.high == pytest.approx(theirs.high, abs=0.03 * width)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(6)
    n_trials, covered, counts = 200, 0, np.full(40, 10.0)
    for trial in range(n_trials):
        text = rng.normal(size=(1, 40)) * 10.0
        found = compare(
            text + rng.normal(size=(8, 40)),
            np.zeros((8, 40)),
            counts,
            Resampling(n_resamples=400, seed=trial),
        )
        covered += found.low <= 0.0 <= found.high
    assert 0.88 <= covered / n_trials <= 1.0


def test_noise_is_no_significant_difference_and_a_large_shift_is():
    rng = np.random.default_rng(7)
    counts, kd = np.full(30, 10.0), rng.normal(size=(3, 30)) * 10.0
    noise = rng.normal(size=(3, 30))
    noise -= noise.mean()
    assert not compare(kd + noise, kd, counts).excludes_zero
    shifted = compare(kd + noise * 0.01 - 5.0, kd, counts)
    assert shifted.excludes_zero
    assert shifted.is_clear
    assert shifted.difference == pytest.approx(-0.5)


def test_seeds_of_both_signs_are_never_clear_however_narrow_the_text():
    kd, counts = np.zeros((2, 10)), np.ones(10)
    found = compare(np.array([[1.0] * 10, [-0.2] * 10]), kd, counts)
    assert found.seed_low < 0.0 < found.seed_high
    assert not found.is_clear


def test_the_same_seed_gives_the_same_interval():
    rng = np.random.default_rng(8)
    arm, kd, counts = rng.normal(size=(2, 9)), rng.normal(size=(2, 9)), np.ones(9)
    assert compare(arm, kd, counts) == compare(arm, kd, counts)
    assert compare(arm, kd, counts, Resampling(seed=1)) != compare(arm, kd, counts)


def test_a_metric_without_positions_is_zero_and_not_clear():
    found = compare(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros(3))
    assert (found.difference, found.low, found.high) == (0.0, 0.0, 0.0)
    assert not found.excludes_zero


def test_resamples_that_draw_no_position_are_left_out():
    # One cluster in four has positions, and it is often not drawn.
    counts = np.array([10.0, 0.0, 0.0, 0.0])
    found = compare(np.array([[5.0, 0, 0, 0]]), np.zeros((1, 4)), counts)
    assert (found.low, found.high) == (0.5, 0.5)


def test_windows_of_a_document_are_pooled():
    values = np.array([[1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 40.0]])
    assert sum_by_cluster(values, np.array([9, 4, 9, 5])).tolist() == [
        [2.0, 4.0, 4.0],
        [20.0, 40.0, 40.0],
    ]


def test_documents_are_drawn_from_ten_on_and_windows_below():
    ten, nine = np.repeat(np.arange(10), 2), np.repeat(np.arange(9), 2)
    assert choose_clusters(ten)[1] == "documents"
    clusters, word = choose_clusters(nine)
    assert word == "windows"
    assert clusters.tolist() == list(range(18))


def test_seeds_that_agree_to_the_last_digit_make_nothing_clear():
    kd = np.zeros((2, 12))
    arm = np.stack([np.linspace(0.5, 1.5, 12)] * 2)
    counts = np.ones(12)
    same = compare(arm, kd, counts)
    assert same.excludes_zero
    assert same.seed_low == same.seed_high == same.difference
    assert not same.is_clear
    assert decide_verdict(same, 2, "higher") == "no significant difference"
    arm[1] += 0.01
    assert decide_verdict(compare(arm, kd, counts), 2, "higher") == "better"


def test_strata_of_one_item_are_drawn_from_together():
    arm = np.random.default_rng(3).integers(0, 2, (1, 40)).astype(float)
    apart = compare_macro(arm, np.zeros((1, 40)), np.arange(40), Resampling(n_resamples=20_000))
    items = compare(arm, np.zeros((1, 40)), np.ones(40), Resampling(n_resamples=20_000))
    assert apart.difference == pytest.approx(items.difference)
    assert (apart.low, apart.high) == pytest.approx((items.low, items.high), abs=0.01)
    # Two strata of one item beside one of 38: by hand, each of the two is one of their two values.
    scores, strata = np.array([[1.0, 0.0, *[0.5] * 38]]), np.array([7, 8, *[9] * 38])
    mixed = compare_macro(scores, np.zeros((1, 40)), strata)
    assert mixed.difference == pytest.approx(0.5)
    assert (mixed.low, mixed.high) == pytest.approx((0.5 / 3, 2.5 / 3))
