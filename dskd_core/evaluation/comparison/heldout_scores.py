"""Arms compared on the same held-out windows, from the tables of ``scores`` artifacts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dskd_core.config import EvaluationConfig
from dskd_core.errors import ArtifactError
from dskd_core.evaluation.comparison.arms import (
    BASELINE,
    ArmPair,
    ArmSeed,
    arm_and_seed,
    sort_arms,
    sort_seeds,
)
from dskd_core.evaluation.comparison.statistics import (
    Resampling,
    choose_clusters,
    compare,
    sum_by_cluster,
)
from dskd_core.evaluation.heldout.frequency import FREQUENCY_METRICS
from dskd_core.evaluation.heldout.metrics import METRICS, Metric
from dskd_core.evaluation.heldout.store import TABLE
from dskd_core.store.artifacts import Artifact

_ALL = (*METRICS, *FREQUENCY_METRICS)
_SAME = ("window", *sorted({metric.count for metric in _ALL}))


@dataclass(frozen=True)
class MetricPair(ArmPair):
    """Two arms compared in one metric of held-out text."""

    metric: Metric

    @property
    def direction(self) -> Literal["lower", "higher", "none"]:
        """Which values of the metric are better."""
        return self.metric.better


class HeldoutScores:
    """Scores on held-out text, by arm and seed."""

    def __init__(self, scores: Sequence[Artifact]) -> None:
        """Read the scores.

        Raises:
            ArtifactError: if KD is missing, two scores are of one model, or the windows differ.
        """
        self.artifacts: dict[ArmSeed, Artifact] = {}
        for artifact in scores:
            model = arm_and_seed(artifact)
            if model in self.artifacts:
                raise ArtifactError(
                    f"Two scores are of arm {model[0]!r}, seed {model[1]}: "
                    f"{self.artifacts[model].fingerprint} and {artifact.fingerprint}; name one."
                )
            self.artifacts[model] = artifact
        if not self.seeds(BASELINE):
            raise ArtifactError(
                f"The {len(scores)} scores have none of arm 'kd', with which every other arm is "
                "compared; train and score kd too."
            )
        self.tables: dict[ArmSeed, pa.Table] = {
            model: artifact.table(TABLE) for model, artifact in self.artifacts.items()
        }
        self._check_same_windows()
        any_table = next(iter(self.tables.values()))
        self.clusters, self.cluster_word = choose_clusters(any_table["document"].to_numpy())

    @property
    def arms(self) -> list[str]:
        """The arms there are, in the order of the tables."""
        return sort_arms(self.artifacts)

    def seeds(self, arm: str) -> list[int]:
        """Return the seeds of an arm, ascending; the teacher has none."""
        return sort_seeds(self.artifacts, arm)

    def artifacts_by_seed(self, arm: str) -> list[Artifact]:
        """Return the scores of an arm, by seed."""
        seeds: list[int | None] = [*self.seeds(arm)]
        return [self.artifacts[arm, seed] for seed in seeds or [None]]

    def summarise(self, arm: str, *, spread: bool = False) -> dict[str, Any]:
        """Return an arm's row of the table: means over seeds, or their standard deviations.

        A standard deviation of one seed is None, and so is a metric without positions.
        """
        scores = self.artifacts_by_seed(arm)
        row: dict[str, Any] = {
            "arm": arm,
            "seeds": len(self.seeds(arm)),
            "layers": scores[0].record.counts["layers"],
            "parameters": scores[0].record.counts["parameters"],
        }
        for metric in _ALL:
            values = [s.record.report["means"].get(metric.name) for s in scores]
            row[metric.name] = _summarise_seeds(values, spread=spread)
            if metric.name == "ce":
                perplexities = [s.record.report["perplexity"] for s in scores]
                row["perplexity"] = _summarise_seeds(perplexities, spread=spread)
        return row

    def compare(
        self,
        arm: str,
        baseline: str,
        config: EvaluationConfig,
        metrics: Sequence[Metric] = METRICS,
    ) -> list[MetricPair]:
        """Compare two arms over the seeds that both have, in every metric that has positions."""
        seeds = tuple(sorted(set(self.seeds(arm)) & set(self.seeds(baseline))))
        if not seeds:
            return []
        return [
            MetricPair(
                arm,
                baseline,
                seeds,
                compare(
                    self.sum_clusters(arm, seeds, metric.total),
                    self.sum_clusters(baseline, seeds, metric.total),
                    self.sum_clusters(baseline, seeds[:1], metric.count)[0],
                    Resampling.from_config(config),
                ),
                metric,
            )
            for metric in metrics
            if self.count_positions(metric)
        ]

    def count_positions(self, metric: Metric) -> int:
        """Return how many positions a metric is a mean over; 0 where it was not measured."""
        seeds = self.seeds(BASELINE)[:1]
        if metric.count not in self.tables[BASELINE, seeds[0]].schema.names:
            return 0
        return int(self.sum_clusters(BASELINE, seeds, metric.count).sum())

    def sum_clusters(self, arm: str, seeds: Sequence[int], column: str) -> NDArray[np.float64]:
        """Return a column's sums over clusters, [n_seeds, n_clusters]."""
        values = [self.tables[arm, seed][column].to_numpy() for seed in seeds]
        return sum_by_cluster(np.stack(values).astype(np.float64), self.clusters)

    def _check_same_windows(self) -> None:
        first, *others = self.tables
        for other in others:
            if any(_column(self.tables[first], n) != _column(self.tables[other], n) for n in _SAME):
                raise ArtifactError(
                    f"The scores {self.artifacts[first].fingerprint} and "
                    f"{self.artifacts[other].fingerprint} are of different held-out windows; "
                    "score both with the same activations and dictionary."
                )


def _column(table: pa.Table, name: str) -> pa.ChunkedArray | None:
    """Return a column; None where the scores were made without it."""
    return table[name] if name in table.schema.names else None


def _summarise_seeds(values: Sequence[float | None], *, spread: bool) -> float | None:
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    if len(known) < len(values) or (spread and len(known) < 2):
        return None
    return float(known.std(ddof=1) if spread else known.mean())
