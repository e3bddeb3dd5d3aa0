"""What the per-item scores say of a model, and the scores of several models item by item."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dskd_core.errors import ArtifactError

MACRO = ("mmlu",)
"""Tasks whose score is the mean over their subjects, each of the same weight."""


@dataclass(frozen=True)
class Aligned:
    """Scores of several models on the items they were all asked in the same way.

    Attributes:
        items: ids, sorted.
        subjects: of each item (MMLU's subject, SQuAD's article).
        scores: [n_models, n_items] float64, 0 to 1.
        n_left_out: items that not all have, or that were not asked in the same words.
    """

    items: tuple[str, ...]
    subjects: tuple[str, ...]
    scores: NDArray[np.float64]
    n_left_out: int


def accuracies(table: pa.Table) -> list[dict[str, Any]]:
    """Return a row for each protocol and benchmark.

    Returns:
        ``score`` is the mean over items, but MMLU's the mean over its subjects' means;
        ``score_norm`` and ``exact`` likewise, None where the task has none.
    """
    rows = table.to_pylist()
    found = []
    for protocol, task in sorted({(row["protocol"], row["task"]) for row in rows}):
        own = [row for row in rows if (row["protocol"], row["task"]) == (protocol, task)]
        found.append(
            {
                "task": task,
                "protocol": protocol,
                "items": len(own),
                "subjects": len({row["subject"] for row in own}) if task in MACRO else 1,
                "score": macro(own, "score", task),
                "score_norm": macro(own, "score_norm", task),
                "exact": macro(own, "exact", task),
                "mean_over_items": _mean([row["score"] for row in own]),
                "unparsable": sum(not row["parsed"] for row in own),
                "in_training": sum(row["in_training"] for row in own),
                "passage_in_training": sum(row["passage_in_training"] for row in own),
            }
        )
    return found


def macro(rows: Sequence[dict[str, Any]], column: str, task: str) -> float | None:
    """Return the mean of a column: over subjects for mmlu, else over items; None if it is empty.

    >>> rows = [{"subject": s, "score": x} for s, x in (("law", 1.0), ("law", 0.0), ("art", 1.0))]
    >>> macro(rows, "score", "mmlu"), round(macro(rows, "score", "arc"), 3)
    (0.75, 0.667)
    """
    groups: dict[str, list[float]] = {}
    for row in rows:
        if row[column] is not None:
            groups.setdefault(row["subject"] if task in MACRO else "", []).append(row[column])
    return _mean([float(np.mean(values)) for values in groups.values()])


def aligned(tables: Sequence[pa.Table], task: str, protocol: str) -> Aligned:
    """Pair the scores of several models by item.

    Args:
        tables: of :func:`~dskd_core.evaluation.benchmarks.store.load_items`, one a model (and
            seed).
        task: the benchmark.
        protocol: the protocol.

    Raises:
        ArtifactError: if no item was asked of all in the same words.
    """
    asked = []
    for table in tables:
        rows = table.to_pylist()
        own = [row for row in rows if (row["task"], row["protocol"]) == (task, protocol)]
        asked.append({(row["item"], row["prompt_fingerprint"]): row for row in own})
    common = sorted(set.intersection(*map(set, asked)))
    everything = {item for rows in asked for item, _ in rows}
    if not common:
        raise ArtifactError(
            f"No {task} item of protocol {protocol} was asked of all {len(tables)} models in the "
            "same words; score them with the same settings and chat template."
        )
    return Aligned(
        tuple(item for item, _ in common),
        tuple(asked[0][key]["subject"] for key in common),
        np.array([[rows[key]["score"] for key in common] for rows in asked]),
        len(everything) - len(common),
    )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
