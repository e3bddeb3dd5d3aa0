"""Scores of several subjects, gathered by arm and seed, and compared on the same windows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dskd_core.config import EvaluationConfig
from dskd_core.errors import ArtifactError
from dskd_core.evaluation.comparison.statistics import (
    Comparison,
    clusters_of,
    compare,
    pooled,
    verdict_of,
)
from dskd_core.evaluation.heldout.metrics import METRICS, Metric
from dskd_core.evaluation.heldout.store import TABLE
from dskd_core.store.artifacts import Artifact

ARMS = ("teacher", "kd", "dskd", "kd_mse", "dskd_own", "dskd_shuffled", "dskd_no_hinge")
YARDSTICK = "kd"
_SAME = ("window", *sorted({metric.count for metric in METRICS}))


@dataclass(frozen=True)
class Pair:
    """A metric of two arms compared over the seeds that both have."""

    metric: Metric
    arm: str
    yardstick: str
    seeds: tuple[int, ...]
    found: Comparison

    @property
    def verdict(self) -> str:
        """In words: better and worse only where both intervals leave zero out."""
        return verdict_of(self.found, len(self.seeds), self.metric.better)


class ScoreBoard:
    """All scores of one report, by (arm, seed)."""

    def __init__(self, scores: Sequence[Artifact]) -> None:
        """Read the scores.

        Raises:
            ArtifactError: if KD is missing, a subject comes twice, or the windows differ.
        """
        self.artifacts: dict[tuple[str, int | None], Artifact] = {}
        for artifact in scores:
            subject = artifact.record.report["arm"], artifact.record.report["seed"]
            if subject in self.artifacts:
                raise ArtifactError(
                    f"Two scores are of arm {subject[0]!r}, seed {subject[1]}: "
                    f"{self.artifacts[subject].fingerprint} and {artifact.fingerprint}; name one."
                )
            self.artifacts[subject] = artifact
        if not self.seeds(YARDSTICK):
            raise ArtifactError(
                f"The {len(scores)} scores have none of arm 'kd', with which every other arm is "
                "compared; train and score kd too."
            )
        self.tables: dict[tuple[str, int | None], pa.Table] = {
            subject: artifact.table(TABLE) for subject, artifact in self.artifacts.items()
        }
        self._check_same_windows()
        any_table = next(iter(self.tables.values()))
        self.clusters, self.cluster_word = clusters_of(any_table["document"].to_numpy())

    @property
    def arms(self) -> list[str]:
        """The arms there are, in the order of the tables."""
        present = {arm for arm, _ in self.artifacts}
        return [arm for arm in ARMS if arm in present]

    def seeds(self, arm: str) -> list[int]:
        """Return the seeds of an arm, ascending; the teacher has none."""
        return sorted(seed for name, seed in self.artifacts if name == arm and seed is not None)

    def scores_of(self, arm: str) -> list[Artifact]:
        """Return the scores of an arm, by seed."""
        seeds: list[int | None] = [*self.seeds(arm)]
        return [self.artifacts[arm, seed] for seed in seeds or [None]]

    def row(self, arm: str, *, spread: bool = False) -> dict[str, Any]:
        """Return an arm's row of the table: means over seeds, or their standard deviations.

        A standard deviation of one seed is None, and so is a metric without positions.
        """
        scores = self.scores_of(arm)
        row: dict[str, Any] = {
            "arm": arm,
            "seeds": len(self.seeds(arm)),
            "layers": scores[0].record.counts["layers"],
            "parameters": scores[0].record.counts["parameters"],
        }
        for metric in METRICS:
            values = [s.record.report["means"].get(metric.name) for s in scores]
            row[metric.name] = _over_seeds(values, spread=spread)
            if metric.name == "ce":
                perplexities = [s.record.report["perplexity"] for s in scores]
                row["perplexity"] = _over_seeds(perplexities, spread=spread)
        return row

    def pairs(self, arm: str, yardstick: str, config: EvaluationConfig) -> list[Pair]:
        """Compare two arms over the seeds that both have, in every metric that has positions."""
        seeds = tuple(sorted(set(self.seeds(arm)) & set(self.seeds(yardstick))))
        if not seeds:
            return []
        return [
            Pair(
                metric,
                arm,
                yardstick,
                seeds,
                compare(
                    self.sums(arm, seeds, metric.total),
                    self.sums(yardstick, seeds, metric.total),
                    self.sums(yardstick, seeds[:1], metric.count)[0],
                    confidence=config.confidence,
                    n_resamples=config.n_resamples,
                ),
            )
            for metric in METRICS
            if self.sums(yardstick, seeds[:1], metric.count).any()
        ]

    def sums(self, arm: str, seeds: Sequence[int], column: str) -> NDArray[np.float64]:
        """Return a column's sums over clusters, [n_seeds, n_clusters]."""
        values = [self.tables[arm, seed][column].to_numpy() for seed in seeds]
        return pooled(np.stack(values).astype(np.float64), self.clusters)

    def _check_same_windows(self) -> None:
        first, *others = self.tables
        for other in others:
            if any(self.tables[first][name] != self.tables[other][name] for name in _SAME):
                raise ArtifactError(
                    f"The scores {self.artifacts[first].fingerprint} and "
                    f"{self.artifacts[other].fingerprint} are of different held-out windows; "
                    "score both with the same activations and dictionary."
                )


def _over_seeds(values: Sequence[float | None], *, spread: bool) -> float | None:
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    if len(known) < len(values) or (spread and len(known) < 2):
        return None
    return float(known.std(ddof=1) if spread else known.mean())
