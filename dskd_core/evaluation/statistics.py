"""Two arms on the same windows and seeds: their difference, and how far it can be trusted.

The estimate is the mean over seeds of the difference of position-weighted means

    delta = (1/S) sum_s  sum_c (a_sc - b_sc) / sum_c n_c

with a_sc and b_sc an arm's and the yardstick's sums over the positions of cluster c, and n_c their
number, the same for both. Two kinds of chance stand behind it, other text and other seeds:

- :attr:`Comparison.low`, ``high``: percentile *bootstrap interval*, clusters and seeds both drawn
  with replacement and independently of each other (every drawn seed sees the same drawn text).
  With one seed it speaks of the text alone.
- :attr:`Comparison.seed_low`, ``seed_high``: *t-interval over seeds*, S - 1 degrees of freedom, for
  this very text. None with one seed. With three seeds it is wide, and honest about it: drawing
  three seeds from three understates their variance by a third, which is why both are shown.

scipy.stats.bootstrap draws along one axis and cannot cross two, so the drawing is done here: as
multinomial counts, which turns all resamples into two matrix products.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

FloatArray = NDArray[np.float64]

MIN_CLUSTERS = 10
_POWER = 0.8


@dataclass(frozen=True)
class Comparison:
    """An arm minus the yardstick, for one metric.

    Attributes:
        difference: delta, the mean over seeds.
        low, high: bootstrap interval over clusters of text and seeds.
        by_seed: the difference of each seed.
        seed_low, seed_high: t-interval over seeds, None with one seed.
        detectable: smallest true difference that such a comparison would find with 80 % power,
            (z_(1 - alpha/2) + z_0.8) times the bootstrap's standard error.
    """

    difference: float
    low: float
    high: float
    by_seed: tuple[float, ...]
    seed_low: float | None
    seed_high: float | None
    detectable: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the bootstrap interval leaves zero out."""
        return self.low > 0.0 or self.high < 0.0

    @property
    def is_clear(self) -> bool:
        """Whether both intervals leave zero out; one seed alone makes nothing clear."""
        if self.seed_low is None or self.seed_high is None:
            return False
        return self.excludes_zero and (self.seed_low > 0.0 or self.seed_high < 0.0)


def compare(
    arm: FloatArray,
    yardstick: FloatArray,
    counts: FloatArray,
    *,
    confidence: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare an arm with the yardstick, paired by seed and by cluster of text.

    Args:
        arm: [n_seeds, n_clusters] float64, sums over the positions of each cluster.
        yardstick: likewise, of the same seeds and clusters.
        counts: [n_clusters], positions of each cluster.
        confidence: level of both intervals.
        n_resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        All zero where no cluster has a position.

    >>> kd = np.array([[2.0, 4.0], [3.0, 5.0]])
    >>> found = compare(kd - 1.0, kd, np.array([1.0, 1.0]))
    >>> found.difference, found.low, found.high, found.by_seed
    (-1.0, -1.0, -1.0, (-1.0, -1.0))
    """
    gaps = arm - yardstick
    n_seeds = len(gaps)
    if not counts.sum():
        return Comparison(0.0, 0.0, 0.0, (0.0,) * n_seeds, None, None, 0.0)
    by_seed = gaps.sum(axis=1) / counts.sum()
    draws = _draws(gaps, counts, n_resamples=n_resamples, seed=seed)
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(draws, [tail, 1.0 - tail])
    seed_low, seed_high = seed_interval(by_seed, confidence=confidence)
    z = stats.norm.ppf(1.0 - tail) + stats.norm.ppf(_POWER)
    return Comparison(
        float(by_seed.mean()),
        float(low),
        float(high),
        tuple(float(value) for value in by_seed),
        seed_low,
        seed_high,
        float(z * draws.std(ddof=1)) if n_resamples > 1 else 0.0,
    )


def seed_interval(
    differences: FloatArray, *, confidence: float
) -> tuple[float, float] | tuple[None, None]:
    """Return mean -/+ t s / sqrt(S) over seeds, or None and None where there is one.

    >>> seed_interval(np.array([1.0]), confidence=0.95)
    (None, None)
    """
    n = len(differences)
    if n < 2:
        return None, None
    half = stats.t.ppf(0.5 + confidence / 2.0, n - 1) * differences.std(ddof=1) / np.sqrt(n)
    return float(differences.mean() - half), float(differences.mean() + half)


def pooled(values: FloatArray, clusters: NDArray[np.integer]) -> FloatArray:
    """Return the sums over the windows of each cluster, clusters ascending.

    >>> pooled(np.array([[1.0, 2.0, 4.0]]), np.array([7, 5, 7]))
    array([[2., 5.]])

    Args:
        values: [..., n_windows].
        clusters: [n_windows], the cluster (document) of each.
    """
    _, index = np.unique(clusters, return_inverse=True)
    return np.apply_along_axis(lambda row: np.bincount(index, weights=row), -1, values)


def clusters_of(documents: NDArray[np.integer]) -> tuple[NDArray[np.integer], str]:
    """Choose what is drawn: documents, or windows where there are fewer than ten documents.

    Windows of one document resemble one another, so drawing windows understates the chance of
    other text; drawing two or three documents says even less.

    Returns:
        The cluster of each window, and the word for it: documents or windows.
    """
    if len(np.unique(documents)) >= MIN_CLUSTERS:
        return documents, "documents"
    return np.arange(len(documents)), "windows"


def _draws(gaps: FloatArray, counts: FloatArray, *, n_resamples: int, seed: int) -> FloatArray:
    """Return delta for each resample, [n]; one that draws no position at all is left out."""
    rng = np.random.default_rng(seed)
    n_seeds, n_clusters = gaps.shape
    text = rng.multinomial(n_clusters, np.full(n_clusters, 1.0 / n_clusters), n_resamples)
    seeds = rng.multinomial(n_seeds, np.full(n_seeds, 1.0 / n_seeds), n_resamples)
    sums = (text @ gaps.T * seeds).sum(axis=1) / n_seeds
    positions = text @ counts
    return np.asarray(sums[positions > 0] / positions[positions > 0], dtype=np.float64)
