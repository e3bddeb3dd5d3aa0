"""Two arms on the same items and seeds: their difference, and how far it can be trusted.

An item is a held-out window or a question of a benchmark. The estimate is the mean over seeds of
the difference of position-weighted means

    delta = (1/S) sum_s  sum_c (a_sc - b_sc) / sum_c n_c

with a_sc and b_sc an arm's and the baseline's sums over the positions of cluster c, and n_c their
number, the same for both. It varies with the text and with the seeds:

- :attr:`Comparison.low`, ``high``: percentile *bootstrap interval*, clusters and seeds both drawn
  with replacement and independently of each other (every drawn seed sees the same drawn text).
  With one seed it speaks of the text alone.
- :attr:`Comparison.seed_low`, ``seed_high``: *t-interval over seeds*, S - 1 degrees of freedom, for
  this very text. None with one seed. With three seeds it is wide, and honest about it: drawing
  three seeds from three understates their variance by a third, which is why both are shown.

scipy.stats.bootstrap draws along one axis and cannot cross two, so the drawing is done here: as
multinomial counts, which turns all resamples into two matrix products.

A macro average (MMLU over its 57 subjects) is the mean of the means of its strata; its resamples
draw items within each stratum, whose sizes stay as they are. An AUC is no mean, see ``ranking.py``.
For items that are right or wrong there is also McNemar's exact test, see :func:`mcnemar`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from dskd_core import interruption
from dskd_core.config import EvaluationConfig

FloatArray = NDArray[np.float64]

MIN_CLUSTERS = 10
_POWER = 0.8
_NO_WIDTH = 1e-9
_BLOCK_BYTES = 16 << 20


@dataclass(frozen=True)
class Resampling:
    """How intervals are made.

    Attributes:
        confidence: level of both.
        n_resamples: of the bootstrap.
        seed: of the bootstrap.
    """

    confidence: float = 0.95
    n_resamples: int = 2000
    seed: int = 0

    @classmethod
    def from_config(cls, config: EvaluationConfig) -> "Resampling":
        """Return that of the settings."""
        return cls(config.confidence, config.n_resamples)


USUAL = Resampling()


@dataclass(frozen=True)
class Comparison:
    """An arm minus the baseline, for one metric.

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

    def scaled(self, factor: float) -> "Comparison":
        """Return the same in another unit, such as percent."""
        return Comparison(
            self.difference * factor,
            self.low * factor,
            self.high * factor,
            tuple(value * factor for value in self.by_seed),
            self.seed_low * factor if self.seed_low is not None else None,
            self.seed_high * factor if self.seed_high is not None else None,
            self.detectable * factor,
        )

    @property
    def excludes_zero(self) -> bool:
        """Whether the bootstrap interval excludes zero."""
        return self.low > 0.0 or self.high < 0.0

    @property
    def is_clear(self) -> bool:
        """Whether both intervals exclude zero.

        One seed makes nothing clear, nor does an interval without width: seeds that agree to the
        last digit, as two can on few items, do not say how far a third would be.
        """
        if self.seed_low is None or self.seed_high is None:
            return False
        narrowest = min(self.high - self.low, self.seed_high - self.seed_low)
        if narrowest <= _NO_WIDTH * abs(self.difference):
            return False
        return self.excludes_zero and (self.seed_low > 0.0 or self.seed_high < 0.0)


def decide_verdict(
    found: Comparison, n_seeds: int, better: Literal["lower", "higher", "none"]
) -> str:
    """Say what was found in words: better and worse only where both intervals exclude zero.

    ``differs`` where the metric has no better direction, ``one seed`` where nothing can be said of
    other seeds.
    """
    if n_seeds < 2:
        return "one seed"
    if not found.is_clear:
        return "no significant difference"
    if better == "none":
        return "differs"
    return "better" if (found.difference < 0.0) == (better == "lower") else "worse"


def compare(
    arm: FloatArray,
    baseline: FloatArray,
    counts: FloatArray,
    resampling: Resampling = USUAL,
) -> Comparison:
    """Compare an arm with the baseline, paired by seed and by cluster of text.

    Args:
        arm: [n_seeds, n_clusters] float64, sums over the positions of each cluster.
        baseline: likewise, of the same seeds and clusters.
        counts: [n_clusters], positions of each cluster.
        resampling: of clusters and seeds.

    Returns:
        All zero where no cluster has a position.

    >>> kd = np.array([[2.0, 4.0], [3.0, 5.0]])
    >>> found = compare(kd - 1.0, kd, np.array([1.0, 1.0]))
    >>> found.difference, found.low, found.high, found.by_seed
    (-1.0, -1.0, -1.0, (-1.0, -1.0))
    """
    gaps = arm - baseline
    n_seeds = len(gaps)
    if not counts.sum():
        return Comparison(0.0, 0.0, 0.0, (0.0,) * n_seeds, None, None, 0.0)
    by_seed = gaps.sum(axis=1) / counts.sum()
    rng, n_resamples = np.random.default_rng(resampling.seed), resampling.n_resamples
    columns = np.column_stack([gaps.T, counts])
    drawn = np.concatenate(
        [text @ columns for text in draw_resamples(rng, len(counts), n_resamples)]
    )
    sums, positions = drawn[:, :-1], drawn[:, -1]
    there = positions > 0
    weights = draw_seed_weights(rng, n_seeds, n_resamples)
    draws = (sums * weights).sum(axis=1)[there] / positions[there]
    return summarise_resamples(by_seed, draws, resampling)


def compare_macro(
    arm: FloatArray,
    baseline: FloatArray,
    strata: NDArray[np.integer],
    resampling: Resampling = USUAL,
) -> Comparison:
    """Compare two arms by the mean over strata of the mean over a stratum's items.

        delta = (1/S) sum_s  (1/H) sum_h  (1/n_h) sum_{i in h} (a_si - b_si)

    Args:
        arm: [n_seeds, n_items] float64, scores.
        baseline: likewise, of the same seeds and items.
        strata: [n_items], the stratum of each; every one weighs the same, however many its items.
        resampling: of items within their stratum, and of seeds. Strata of one item would never
            vary; they are drawn from as one stratum (collapsed strata).

    >>> arm = np.array([[1.0, 1.0, 0.0]])
    >>> compare_macro(arm, np.zeros((1, 3)), np.array([4, 4, 9])).difference
    0.5
    """
    gaps = arm - baseline
    names, sizes = np.unique(strata, return_counts=True)
    means = np.stack([gaps[:, strata == name].mean(axis=1) for name in names])
    rng, n_resamples = np.random.default_rng(resampling.seed), resampling.n_resamples
    drawn = np.zeros((n_resamples, len(gaps)))
    alone = np.isin(strata, names[sizes == 1])
    groups = [(strata == name, n) for name, n in zip(names, sizes, strict=True) if n > 1]
    for group, n in [*groups, (alone, 1)] if alone.any() else groups:
        mine = gaps[:, group].T
        blocks = draw_resamples(rng, len(mine), n_resamples)
        drawn += np.concatenate([items @ mine for items in blocks]) / n
    weights = draw_seed_weights(rng, len(gaps), n_resamples)
    draws = (drawn / len(names) * weights).sum(axis=1)
    return summarise_resamples(means.mean(axis=0), draws, resampling)


@dataclass(frozen=True)
class McNemar:
    """Items that one of two arms has right and the other wrong.

    Attributes:
        n_better, n_worse: items on which the arm is right more often than the baseline over the
            seeds, and less often.
        p_value: exact, two-sided.
    """

    n_better: int
    n_worse: int
    p_value: float


def mcnemar(arm: FloatArray, baseline: FloatArray) -> McNemar:
    """Test whether two arms are right equally often (McNemar's exact test).

    Over seeds every item is asked once: it speaks for the arm that has it right with more seeds,
    and not at all where they are even. So answers to one question, which are anything but
    independent, are never counted as several. With one seed this is McNemar's test as it is known;
    it speaks of other items and not of other seeds.

    Args:
        arm: [n_seeds, n_items] of 0 and 1.
        baseline: likewise, of the same seeds and items.

    >>> mcnemar(np.array([[1, 1, 1, 1, 1, 0]]), np.array([[0, 0, 0, 0, 0, 0]]))
    McNemar(n_better=5, n_worse=0, p_value=0.0625)
    """
    gaps = (arm - baseline).sum(axis=0)
    n_better, n_worse = int((gaps > 0).sum()), int((gaps < 0).sum())
    discordant = n_better + n_worse
    p = stats.binomtest(n_better, discordant).pvalue if discordant else 1.0
    return McNemar(n_better, n_worse, float(p))


def summarise_resamples(
    by_seed: FloatArray, draws: FloatArray, resampling: Resampling
) -> Comparison:
    """Return the mean over seeds with its intervals, from the resamples of it."""
    tail = (1.0 - resampling.confidence) / 2.0
    low, high = np.quantile(draws, [tail, 1.0 - tail])
    seed_low, seed_high = seed_interval(by_seed, confidence=resampling.confidence)
    z = stats.norm.ppf(1.0 - tail) + stats.norm.ppf(_POWER)
    return Comparison(
        float(by_seed.mean()),
        float(low),
        float(high),
        tuple(float(value) for value in by_seed),
        seed_low,
        seed_high,
        float(z * draws.std(ddof=1)) if len(draws) > 1 else 0.0,
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


def sum_by_cluster(values: FloatArray, clusters: NDArray[np.integer]) -> FloatArray:
    """Return the sums over the windows of each cluster, clusters ascending.

    >>> sum_by_cluster(np.array([[1.0, 2.0, 4.0]]), np.array([7, 5, 7]))
    array([[2., 5.]])

    Args:
        values: [..., n_windows].
        clusters: [n_windows], the cluster (document) of each.
    """
    _, index = np.unique(clusters, return_inverse=True)
    return np.apply_along_axis(lambda row: np.bincount(index, weights=row), -1, values)


def choose_clusters(documents: NDArray[np.integer]) -> tuple[NDArray[np.integer], str]:
    """Choose what is drawn: documents, or windows where there are fewer than ten documents.

    Windows of one document resemble one another, so drawing windows understates the chance of
    other text; drawing two or three documents says even less.

    Returns:
        The cluster of each window, and the word for it: documents or windows.
    """
    if len(np.unique(documents)) >= MIN_CLUSTERS:
        return documents, "documents"
    return np.arange(len(documents)), "windows"


def draw_resamples(rng: np.random.Generator, n: int, n_resamples: int) -> Iterator[FloatArray]:
    """Yield how often each of ``n`` clusters is drawn, [.., n], a few MB of resamples at a time."""
    rows = max(1, _BLOCK_BYTES // (8 * n))
    for start in range(0, n_resamples, rows):
        interruption.check()
        counts = rng.multinomial(n, np.full(n, 1.0 / n), min(rows, n_resamples - start))
        yield counts.astype(np.float64)


def draw_seed_weights(rng: np.random.Generator, n_seeds: int, n_resamples: int) -> FloatArray:
    """Return the weight of each seed in each resample, [n_resamples, n_seeds]."""
    return np.concatenate(list(draw_resamples(rng, n_seeds, n_resamples))) / n_seeds
