"""Many settings, one table: the ablations of the paper, each point trained and scored like any run.

A ``sweep`` artifact has ``sweep.parquet``, a row for each point and metric:

    point                      string   settings that differ from the first point
    metric                     string   as in heldout/metrics.py
    layers, parameters         int64    of the student
    kd, dskd                   double   means over positions and seeds
    gain, low, high            double   DSKD - KD, its bootstrap interval
    seed_low, seed_high        double   its t-interval over seeds, null with one seed
    by_seed                    list<double>  the gain of each seed
    change, change_low, ..     double   DSKD - the first point's; null where windows differ
    verdict                    string   of the gain, in words

and ``sweep.md``, the same for people, with ``sweep.png``: the gains in CE and their intervals. The
page and the record (``base``) say which values the first point has for the settings that others
change.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from dskd_core.config import EvaluationConfig
from dskd_core.errors import ArtifactError
from dskd_core.evaluation.ablation.grid import ARM
from dskd_core.evaluation.comparison.arms import BASELINE
from dskd_core.evaluation.comparison.heldout_scores import HeldoutScores, MetricPair
from dskd_core.evaluation.comparison.statistics import Comparison, Resampling, compare
from dskd_core.evaluation.heldout.metrics import METRICS, Metric
from dskd_core.evaluation.report.differences import describe_bars, difference_bar
from dskd_core.evaluation.report.figures import draw_differences
from dskd_core.evaluation.report.labels import count, interval, signed
from dskd_core.evaluation.report.page import Cell, Page, Picture, Section, Table, to_markdown
from dskd_core.store.artifacts import Artifact, ArtifactStore, Work

TABLE = "sweep.parquet"
PAGE = "sweep.md"
_PICTURE = "sweep.png"
_SHOWN = [metric for metric in METRICS if metric.name in {"ce", "kl", "synonym_nearer"}]


def build_sweep(
    store: ArtifactStore,
    config: EvaluationConfig,
    base: Mapping[str, Any],
    scores: Mapping[str, Sequence[Artifact]],
) -> Artifact:
    """Compare DSKD with KD at every point, and with itself at the first; publish one table.

    ``scores`` are of every student of each point, by its name, the base first.
    """
    work = Work(
        "sweep",
        config.model_dump(mode="json", include={"confidence", "n_resamples"})
        | {"base": dict(base), "points": list(scores)},
        {
            f"{name}: {a.record.report['arm']} {a.record.report['seed']}": a.fingerprint
            for name, of_point in scores.items()
            for a in of_point
        },
        version=5,
    )
    if found := store.find(work):
        return found
    all_scores = {name: HeldoutScores(of_point) for name, of_point in scores.items()}
    first = next(iter(all_scores.values()))
    pairs = [
        (name, pair)
        for name, heldout in all_scores.items()
        for pair in heldout.compare(ARM, BASELINE, config)
    ]
    rows = [_row(name, all_scores[name], first, pair, config) for name, pair in pairs]
    with store.publish(work) as draft:
        draft.write_table(TABLE, pa.Table.from_pylist(rows))
        draft.path(PAGE).write_text(to_markdown(_build_page(rows, first, base, config)), "utf-8")
        bars = [
            difference_bar(name.replace(", ", "\n"), pair, pair.metric.digits)
            for name, pair in pairs
            if pair.metric.name == "ce"
        ]
        draw_differences(bars, "CE (nats), DSKD − KD", draft.path(_PICTURE))
        draft.counts |= {"points": len(scores), "scores": sum(map(len, scores.values()))}
        draft.report["base"] = dict(base)
        seconds = {name: _seconds(store, of_point) for name, of_point in scores.items()}
        draft.report["table"] = [
            row | {"seconds a DSKD student": seconds[row["point"]]} for row in shown_rows(rows)
        ]
    return store.get(work.stage, work.fingerprint)


def shown_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row a point, as tables of people show it."""
    shown: dict[str, dict[str, Any]] = {}
    for metric in _SHOWN:
        for row in (row for row in rows if row["metric"] == metric.name):
            line = shown.setdefault(row["point"], {"point": row["point"], "student": _size(row)})
            line[f"{metric.title}, KD"] = round(row["kd"], metric.digits)
            line[f"{metric.title}, DSKD"] = round(row["paper"], metric.digits)
            line[f"{metric.title}, DSKD − KD"] = _with_interval(row, "gain", "", metric)
            line[f"{metric.title}, verdict"] = row["verdict"]
    return list(shown.values())


def _seconds(store: ArtifactStore, scores: Sequence[Artifact]) -> float | None:
    """Return the mean seconds of a point's DSKD students; None where one is not here.

    Seconds are of the run, so they stand in the record and not in the page.
    """
    made = [a.record.inputs.get("student") for a in scores if a.record.report["arm"] == ARM]
    try:
        found = [store.get("student", str(fingerprint)).record.seconds for fingerprint in made]
    except ArtifactError:
        return None
    return round(sum(found) / len(found), 1) if found else None


def _row(
    name: str,
    heldout: HeldoutScores,
    first: HeldoutScores,
    pair: MetricPair,
    config: EvaluationConfig,
) -> dict[str, Any]:
    gain, change = pair.comparison, _change(heldout, first, pair, config)
    return {
        "point": name,
        "metric": pair.metric.name,
        "layers": heldout.summarise(ARM)["layers"],
        "parameters": heldout.summarise(ARM)["parameters"],
        "kd": heldout.summarise(BASELINE)[pair.metric.name],
        "paper": heldout.summarise(ARM)[pair.metric.name],
        "gain": gain.difference,
        "low": gain.low,
        "high": gain.high,
        "seed_low": gain.seed_low,
        "seed_high": gain.seed_high,
        "by_seed": list(gain.by_seed),
        "change": change.difference if change else None,
        "change_low": change.low if change else None,
        "change_high": change.high if change else None,
        "verdict": pair.verdict,
    }


def _change(
    heldout: HeldoutScores, first: HeldoutScores, pair: MetricPair, config: EvaluationConfig
) -> Comparison | None:
    """Compare DSKD of two points on the same positions; None where they were scored on others."""
    same = ("window", pair.metric.count)
    seeds = [seed for seed in pair.seeds if seed in first.seeds(ARM)]
    if heldout is first or not seeds:
        return None
    mine, theirs = (scores.tables[ARM, seeds[0]] for scores in (heldout, first))
    if any(not mine[name].equals(theirs[name]) for name in same):
        return None
    return compare(
        heldout.sum_clusters(ARM, seeds, pair.metric.total),
        first.sum_clusters(ARM, seeds, pair.metric.total),
        first.sum_clusters(ARM, seeds[:1], pair.metric.count)[0],
        Resampling.from_config(config),
    )


def _build_page(
    rows: Sequence[dict[str, Any]],
    first: HeldoutScores,
    base: Mapping[str, Any],
    config: EvaluationConfig,
) -> Page:
    """Return a picture of the gains in CE, and a table for each metric that is shown."""
    level, n_seeds = f"{config.confidence:.0%}", count(len(first.seeds(ARM)), "seed")
    values = ", ".join(f"{name}={value}" for name, value in base.items())
    method = (
        f"At every point, {n_seeds} of KD and of DSKD are scored on the same held-out text. "
        f"DSKD − KD is paired by window and seed. Bootstrap: {level} interval over "
        f"{first.cluster_word} and seeds; it covers other text and other seeds. t: {level} "
        "interval over the seeds alone. Better or worse: both intervals exclude zero. Otherwise "
        "there is no significant difference. Last column: DSKD minus the first point's DSKD, with "
        "its bootstrap interval; – where the two were scored on different positions."
    )
    caption = describe_bars(ARM, BASELINE, "CE in nats", config)
    tables = ((metric, [row for row in rows if row["metric"] == metric.name]) for metric in _SHOWN)
    sections = (
        Section("", (f"Base: {values or 'the settings as they are'}.", method)),
        Section("DSKD − KD in CE at every point", picture=Picture(_PICTURE, caption)),
        *(Section(m.title_with_unit, table=_table(found, m)) for m, found in tables if found),
    )
    return Page("Sweep", sections)


def _table(rows: Sequence[dict[str, Any]], metric: Metric) -> Table:
    headers = ("point", "student", "KD", "DSKD", "DSKD − KD", "bootstrap", "t over seeds", "")
    lines = (tuple(map(Cell, _table_row(row, metric))) for row in rows)
    return Table((*headers, f"DSKD − {rows[0]['point']}'s DSKD"), tuple(lines))


def _table_row(row: dict[str, Any], metric: Metric) -> tuple[str, ...]:
    digits = metric.digits
    return (
        row["point"],
        _size(row),
        f"{row['kd']:.{digits}f}",
        f"{row['paper']:.{digits}f}",
        signed(row["gain"], digits),
        interval(row["low"], row["high"], digits),
        interval(row["seed_low"], row["seed_high"], digits),
        row["verdict"],
        _with_interval(row, "change", "change_", metric),
    )


def _size(row: dict[str, Any]) -> str:
    return f"{row['parameters'] / 1e6:,.1f} M, {row['layers']} layers"


def _with_interval(row: dict[str, Any], value: str, prefix: str, metric: Metric) -> str:
    if row[value] is None:
        return "–"
    ends = interval(row[f"{prefix}low"], row[f"{prefix}high"], metric.digits)
    return f"{signed(row[value], metric.digits)} {ends}"
