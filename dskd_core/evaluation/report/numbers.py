"""The numbers of a report as its record keeps them, rounded."""

from dataclasses import asdict
from typing import Any

import numpy as np

from dskd_core.evaluation.comparison.heldout_scores import MetricPair
from dskd_core.evaluation.comparison.item_scores import TaskPair
from dskd_core.evaluation.heldout.frequency import BANDS
from dskd_core.evaluation.heldout.metrics import METRICS
from dskd_core.evaluation.report.breakdown import OtherText
from dskd_core.evaluation.report.differences import difference_row
from dskd_core.evaluation.report.sections import ReportContent
from dskd_core.evaluation.report.text import writer
from dskd_core.store.artifacts import Artifact

_IN_TABLE = {
    "ce",
    "kl",
    "top1_agreement",
    "own_synonym_mse",
    "antonym_mse",
    "synonym_nearer",
}
_NONE = np.empty(0)


def report_numbers(content: ReportContent) -> dict[str, Any]:
    """Return every number on the page, and more, for the record."""
    heldout = content.heldout
    means = [heldout.summarise(arm) for arm in heldout.arms]
    return {
        "table": [_table_row(row) for row in means],
        "means": [_round(row) for row in means],
        "sd": [_round(heldout.summarise(arm, spread=True)) for arm in heldout.arms],
        "comparison": [_comparison_row(pair) for pair in content.pairs],
        "control": [_comparison_row(pair) for pair in content.control],
        "intervals": [_interval_row(pair) for pair in (*content.pairs, *content.control)],
        "by_frequency": frequency_numbers(content),
        "other_texts": [_other_text(other) for other in content.other_texts],
        "continuations": [row | {"writer": writer(row)} for row in content.continuations],
        "items": [_item_row(pair) for group in content.groups for pair in group.pairs],
        "clusters": heldout.cluster_word,
        "active_share": {
            f"{curve.arm} seed {curve.seed}": round(float(np.nanmean(share)), 6)
            for curve in content.curves
            if np.isfinite(share := curve.history.get("active_share", _NONE)).any()
        },
        "students": [_cost(student) for student in content.students],
    }


def frequency_numbers(content: ReportContent) -> list[dict[str, Any]]:
    """Return of every band its positions, each arm's CE and each comparison."""
    heldout = content.heldout
    means = {arm: heldout.summarise(arm) for arm in heldout.arms}
    return [
        {
            "band": band.name,
            "title": band.title,
            "positions": heldout.count_positions(band.metric),
            "ce": _round({arm: mean[band.metric.name] for arm, mean in means.items()}),
            "comparison": [
                _interval_row(pair) | {"verdict": pair.verdict}
                for pair in content.by_frequency
                if pair.metric == band.metric
            ],
        }
        for band in BANDS
    ]


def _other_text(other: OtherText) -> dict[str, Any]:
    """Return what was measured on one text of another domain."""
    means = [other.heldout.summarise(arm) for arm in other.heldout.arms]
    pairs = (*other.pairs, *other.control)
    return {
        "text": other.name,
        "clusters": other.heldout.cluster_word,
        "means": [_round(row) for row in means],
        "comparison": [_interval_row(pair) | {"verdict": pair.verdict} for pair in pairs],
    }


def _table_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return an arm's row as the tables of tasks and flows show it, narrow enough for a screen."""
    about = {"arm": row["arm"], "seeds": row["seeds"], "layers": row["layers"]}
    scores = {metric.title: row[metric.name] for metric in METRICS if metric.name in _IN_TABLE}
    first = {
        "params (M)": row["parameters"] / 1e6,
        "CE": row["ce"],
        "perplexity": row["perplexity"],
    }
    return _round(about | first | scores)


def _comparison_row(pair: MetricPair) -> dict[str, Any]:
    """Return a comparison as the tables of tasks and flows show it."""
    found = pair.comparison
    return _round(
        {
            "metric": pair.metric.title,
            "arms": f"{pair.arm} - {pair.baseline}",
            "difference": found.difference,
            "low": found.low,
            "high": found.high,
            "seeds": len(pair.seeds),
            "excludes_zero": "yes" if found.excludes_zero else "no",
            "verdict": pair.verdict,
        }
    )


def _interval_row(pair: MetricPair) -> dict[str, Any]:
    about = {"metric": pair.metric.name, "arms": f"{pair.arm} - {pair.baseline}"}
    values = (round(value, 6) for value in pair.comparison.by_seed)
    by_seed = dict(zip(map(str, pair.seeds), values, strict=True))
    return _round(about | difference_row(pair) | {"by_seed": by_seed})


def _item_row(pair: TaskPair) -> dict[str, Any]:
    """Return a comparison of items; scores from 0 to 1."""
    about = {
        "task": pair.task,
        "protocol": pair.protocol,
        "arms": f"{pair.arm} - {pair.baseline}",
        "items": pair.n_items,
        "seeds": len(pair.seeds),
        pair.arm: pair.arm_value,
        pair.baseline: pair.baseline_value,
    }
    test = asdict(pair.test) if pair.test else None
    return _round(about | difference_row(pair) | {"verdict": pair.verdict}) | {"mcnemar": test}


def _cost(student: Artifact) -> dict[str, Any]:
    """Return what a student cost; seconds are of the run, so the record alone has them."""
    record = student.record
    return {
        "arm": record.report["arm"],
        "seed": record.report["seed"],
        "steps": record.counts["steps"],
        "seconds": record.seconds,
        "bytes": record.n_bytes,
        "peak_bytes": record.report.get("peak_bytes"),
        "fingerprint": record.fingerprint,
    }


def _round(row: dict[str, Any]) -> dict[str, Any]:
    return {key: round(v, 6) if isinstance(v, float) else v for key, v in row.items()}
