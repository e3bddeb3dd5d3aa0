"""How well similarities rank items: the AUC of two kinds, and Spearman's correlation with ratings.

Neither is a mean over items, so both are formed anew in every resample of the bootstrap that
``statistics.py`` describes.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dskd_core.evaluation.comparison.statistics import (
    USUAL,
    Comparison,
    FloatArray,
    Resampling,
    draw_resamples,
    draw_seed_weights,
    summarise_resamples,
)
from dskd_core.evaluation.word_senses.graded import spearman

Measure = Callable[[FloatArray, FloatArray], FloatArray]
"""Similarities, [n_items], and how often each item counts, [n_lines, n_items] -> [n_lines]."""


def compare_auc(
    arm: FloatArray,
    baseline: FloatArray,
    is_more: NDArray[np.bool_],
    clusters: NDArray[np.integer],
    resampling: Resampling = USUAL,
) -> Comparison:
    """Compare two arms by how well their similarities rank items of two kinds.

    Args:
        arm: [n_seeds, n_items] float64, similarities.
        baseline: likewise, of the same seeds and items.
        is_more: [n_items], whether an item should be among the more similar ones.
        clusters: [n_items], what is drawn together, numbered from 0.
        resampling: of clusters and seeds.
    """

    def measure(similarity: FloatArray, weights: FloatArray) -> FloatArray:
        return weighted_auc(similarity, is_more, weights)

    return _compare(arm, baseline, measure, clusters, resampling)


def compare_spearman(
    arm: FloatArray,
    baseline: FloatArray,
    ratings: FloatArray,
    resampling: Resampling = USUAL,
) -> Comparison:
    """Compare two arms by Spearman's correlation of their similarities with people's ratings.

    Args:
        arm: [n_seeds, n_items] float64, similarities.
        baseline: likewise, of the same seeds and items.
        ratings: [n_items].
        resampling: of items and seeds.
    """

    def measure(similarity: FloatArray, weights: FloatArray) -> FloatArray:
        drawn = (np.repeat(items, counts) for counts in weights.astype(np.int64))
        return np.array([spearman(similarity[some], ratings[some]) for some in drawn])

    items = np.arange(len(ratings))
    return _compare(arm, baseline, measure, items, resampling)


def _compare(
    arm: FloatArray,
    baseline: FloatArray,
    measure: Measure,
    clusters: NDArray[np.integer],
    resampling: Resampling,
) -> Comparison:
    """Compare two arms in a measure of all their similarities; a draw without a value is left out.

    The other arguments are those of :func:`compare_auc`.
    """
    pairs = list(zip(arm, baseline, strict=True))
    once = np.ones((1, len(clusters)))
    by_seed = np.array([(measure(a, once) - measure(b, once))[0] for a, b in pairs])
    rng, n_resamples = np.random.default_rng(resampling.seed), resampling.n_resamples
    gaps = []
    for drawn in draw_resamples(rng, int(clusters.max()) + 1, n_resamples):
        weights = drawn[:, clusters]
        gaps.append(np.stack([measure(a, weights) - measure(b, weights) for a, b in pairs], axis=1))
    draws = (np.concatenate(gaps) * draw_seed_weights(rng, len(arm), n_resamples)).sum(axis=1)
    return summarise_resamples(by_seed, draws[~np.isnan(draws)], resampling)


def weighted_auc(
    similarity: FloatArray, is_more: NDArray[np.bool_], weights: NDArray[np.floating]
) -> FloatArray:
    """Return the AUC for each line of weights; NaN where a kind has none.

    >>> weighted_auc(np.array([0.1, 0.5, 0.5]), np.array([False, True, False]), np.ones((1, 3)))
    array([0.75])

    Args:
        similarity: [n_items].
        is_more: [n_items].
        weights: [n_lines, n_items], how often each item counts.

    Returns:
        [n_lines]: of pairs of one item of each kind, the share in which the more-labelled is the
        more similar one, ties half.
    """
    order = np.argsort(similarity, kind="stable")
    starts = np.unique(similarity[order], return_index=True)[1]
    more, less = (
        np.add.reduceat(np.where(kind[order], weights[:, order], 0.0), starts, axis=1)
        for kind in (is_more, ~is_more)
    )
    below = np.cumsum(less, axis=1) - less
    pairs = more.sum(axis=1) * less.sum(axis=1)
    won = (more * (below + less / 2.0)).sum(axis=1)
    return np.asarray(np.divide(won, pairs, out=np.full(len(won), np.nan), where=pairs > 0))
