"""What is compared: each metric is a sum over positions and the count it is divided by."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class Metric:
    """A mean over positions, kept as two columns of ``windows.parquet``.

    Attributes:
        name: in records and tables.
        title: for people.
        total: column with the sum.
        count: column with the number of positions it is a sum over.
        better: which direction is better. Neither for the distance to antonyms: states that have
            drifted from everything are far from antonyms too.
        digits: decimals worth printing.
        unit: of the mean.
    """

    name: str
    title: str
    total: str
    count: str
    better: Literal["lower", "higher", "none"]
    digits: int = 4
    unit: str = ""

    @property
    def title_with_unit(self) -> str:
        """The title, and the unit where there is one."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


METRICS = (
    Metric("ce", "CE", "ce", "n_positions", "lower", unit="nats"),
    Metric("kl", "KL to teacher", "kl", "n_positions", "lower", unit="nats"),
    Metric("top1_agreement", "top-1 agreement", "top1_agreement", "n_positions", "higher"),
    Metric("accuracy", "next-token accuracy", "accuracy", "n_positions", "higher"),
    Metric("own_synonym_mse", "own+synonym MSE", "own_synonym_mse", "n_with_positives", "lower"),
    Metric("antonym_mse", "antonym MSE", "antonym_mse", "n_with_negatives", "none"),
    Metric("synonym_nearer", "synonym nearer", "n_synonym_nearer", "n_with_both", "higher"),
    Metric("state_mse", "state MSE", "state_mse", "n_positions", "lower"),
)
"""In the order of the report's tables. The sums are those of ``HeldoutScorer.score``."""


def totals_of(table: pa.Table) -> dict[str, float]:
    """Return the sum of every column of ``windows.parquet``."""
    return {name: float(np.sum(table[name].to_numpy())) for name in table.column_names}


def means_of(totals: Mapping[str, float], metrics: Iterable[Metric] = METRICS) -> dict[str, float]:
    """Return the means over positions, by metric; one without positions has none."""
    return {
        metric.name: totals[metric.total] / totals[metric.count]
        for metric in metrics
        if totals.get(metric.count)
    }
