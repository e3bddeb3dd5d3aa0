"""As many senses as a token is worth: k per token under one price for a sense. Arrays in and out.

Fixed k gives a token of one meaning as many senses as one of ten. Here a token takes the k of

    argmin over k in 1..max_senses of  inertia_t(k) + price * k

so a sense more is kept where it lowers the sum of squared distances by more than ``price``. That is
the penalty of DP-means (Kulis and Jordan 2012), and the Lagrangian of the least total inertia under
a total number of senses: with one price for all, no token could pass a sense on to another and
lower the sum. Given the price, every token decides alone, so any range can be clustered anywhere.

On real embeddings, at the bytes of fixed k, it has less inertia and purer pseudo-words than fixed k
(``python -m benchmarks.adaptive_k``); it has not been held against human sense tags, takes several
times as long, and rare tokens pay for common ones. So it is off by default.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dskd_core.config import SensesConfig
from dskd_core.senses.kmeans import Clustering, cluster

_PATIENCE = 2
_HALVINGS = 60


def cluster_at_price(
    points: Sequence[NDArray[np.float32]],
    token_ids: Sequence[int],
    config: SensesConfig,
    *,
    price: float,
) -> list[Clustering]:
    """Cluster each token into the number of senses that is worth its price.

    k goes up from 1 and stops after two values that cost more than the best so far (equal ones go
    to the smaller k). A token without rows has no senses. Cost: that of fixed k for every k tried.

    Args:
        points: the rows of each token, float32 [n_i, d].
        token_ids: the id of each token.
        config: the most senses of a token, and how they are found; ``n_senses`` is not looked at.
        price: squared distance, summed over a token's rows, that a sense must take away.

    Returns:
        One clustering per token, in the order given.

    >>> tight, wide = np.array([[0.0], [1.0]]), np.array([[0.0], [9.0]])
    >>> pair = [tight.astype(np.float32), wide.astype(np.float32)]
    >>> config = SensesConfig(max_senses=4, device="cpu")
    >>> [len(c.counts) for c in cluster_at_price(pair, [1, 2], config, price=2.0)]
    [1, 2]
    """
    best = cluster(points, token_ids, _fixed(config, 1))
    for k in range(2, config.max_senses + 1):
        trying = [
            i
            for i, found in enumerate(best)
            if len(points[i]) >= k and k - len(found.counts) <= _PATIENCE
        ]
        ids = [token_ids[i] for i in trying]
        found = cluster([points[i] for i in trying], ids, _fixed(config, k))
        for i, more in zip(trying, found, strict=True):
            if _cost(more, price) < _cost(best[i], price):
                best[i] = more
    return best


def inertia_curves(
    points: Sequence[NDArray[np.float32]], token_ids: Sequence[int], config: SensesConfig
) -> NDArray[np.float64]:
    """Return the inertia of each token at every k from 1 to ``max_senses``, float64 [t, max].

    A k above the number of different rows has the inertia 0, and no curve rises.
    """
    columns = [
        [found.inertia for found in cluster(points, token_ids, _fixed(config, k))]
        for k in range(1, config.max_senses + 1)
    ]
    return np.minimum.accumulate(np.array(columns, dtype=np.float64), axis=0).T


def worth(inertia: NDArray[np.float64], price: float) -> NDArray[np.int64]:
    """Return the k that each curve takes at a price, int64 [t], as ``cluster_at_price`` does.

    >>> worth(np.array([[9.0, 4.0, 3.0], [9.0, 8.0, 7.5]]), price=2.0).tolist()
    [2, 1]
    """
    costs = inertia + price * np.arange(1, inertia.shape[1] + 1)
    best = np.zeros(len(costs), dtype=np.int64)
    rows = np.arange(len(costs))
    for k in range(1, costs.shape[1]):
        better = (k - best <= _PATIENCE) & (costs[:, k] < costs[rows, best])
        best[better] = k
    return best + 1


def find_price(
    inertia: NDArray[np.float64],
    fixed: NDArray[np.int64],
    runs: NDArray[np.int64],
    *,
    share: float,
    sampled: float,
) -> float:
    """Return the least price at which a sample says that the budget is kept.

    The senses of all tokens are estimated by a ratio, ``r = sum k_t / sum fixed_t`` over the
    sample. Two standard errors are added, from the runs of neighbouring tokens that it consists
    of, unless the sample is everything: then r is exact.

    Args:
        inertia: curves of the sampled tokens, float64 [t, max_senses].
        fixed: senses of each under fixed k, int64 [t].
        runs: the run each belongs to, int64 [t].
        share: the budget over the senses of all tokens under fixed k.
        sampled: share of all tokens that are in the sample.

    >>> curves = np.array([[9.0, 4.0, 3.0], [9.0, 8.0, 7.5]])
    >>> price = find_price(curves, np.array([2, 2]), np.array([0, 0]), share=0.75, sampled=1.0)
    >>> worth(curves, price).tolist()
    [2, 1]
    """
    fixed_in_run = np.bincount(runs, weights=fixed)
    n_runs, n_fixed = len(fixed_in_run), fixed.sum()

    def within(price: float) -> bool:
        k_in_run = np.bincount(runs, weights=worth(inertia, price))
        ratio = k_in_run.sum() / n_fixed
        spread = ((k_in_run - ratio * fixed_in_run) ** 2).sum() * n_runs / max(1, n_runs - 1)
        error = np.sqrt(spread * (1.0 - sampled)) / n_fixed
        return bool(ratio + 2 * error <= share)

    low, high = 0.0, float(inertia.max(initial=0.0)) + 1.0
    if within(low):
        return low
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if within(middle) else (middle, high)
    return high


def _fixed(config: SensesConfig, k: int) -> SensesConfig:
    return config.model_copy(update={"n_senses": k})


def _cost(found: Clustering, price: float) -> float:
    return found.inertia + price * len(found.counts)
