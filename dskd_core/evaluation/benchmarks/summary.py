"""What the per-item scores say of a model; ``comparison`` has several, item by item."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

MACRO = ("mmlu",)
"""Tasks whose score is the mean over their subjects, each of the same weight."""


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


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
