"""Senses in few dimensions."""

import numpy as np
import pytest

from dskd_core.errors import CapacityError
from dskd_core.explorer.projection import MAX_TSNE, principal_axes, tsne


@pytest.mark.parametrize("shape", [(9, 4), (4, 9), (2, 5), (1, 3)])
def test_axes_are_those_of_a_singular_value_decomposition(shape):
    senses = np.random.default_rng(0).normal(size=shape)
    axes, explained = principal_axes(senses)
    centred = senses - senses.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    n = min(axes.shape[1], len(s))
    np.testing.assert_allclose(np.abs(axes[:, :n]), np.abs(u * s)[:, :n], atol=1e-6)
    largest = axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])]
    assert (largest >= 0).all(), "a picture does not flip"
    if len(senses) > 1:
        assert explained == pytest.approx((s[:2] ** 2).sum() / (s**2).sum())


def test_tsne_keeps_groups_together_says_how_far_it_is_and_draws_the_same_twice():
    rng = np.random.default_rng(0)
    senses = np.concatenate([rng.normal(size=(12, 20)) + 8 * group for group in range(3)])
    axes, _ = principal_axes(senses)
    told = []
    flat = tsne(axes, lambda n_done, n_total, unit, **_: told.append((n_done, n_total, unit)))
    assert told == [(n, 1000, "iterations") for n in (0, 250, 500, 750)]
    np.testing.assert_array_equal(flat, tsne(axes))
    distances = np.linalg.norm(flat[:, None] - flat[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    groups = np.repeat(range(3), 12)
    nearest = np.argsort(distances, axis=1)[:, :5]
    assert (groups[nearest] == groups[:, None]).all()


def test_tsne_of_too_many_senses_is_refused():
    with pytest.raises(CapacityError, match="2,000 senses here, and these words have 2,001"):
        tsne(np.zeros((MAX_TSNE + 1, 2)))
