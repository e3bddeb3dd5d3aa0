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
from dskd_core.evaluation.comparison.score_board import YARDSTICK, Pair, ScoreBoard
from dskd_core.evaluation.comparison.statistics import Comparison, compare
from dskd_core.evaluation.heldout.metrics import METRICS, Metric
from dskd_core.evaluation.report.figures import Bar, draw_forest
from dskd_core.evaluation.report.labels import interval, signed
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

    Args:
        store: where the sweep is kept.
        config: level and resamples of the intervals.
        base: what the first point has for every setting that others change.
        scores: of every student of each point, by its name, the base first.
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
        version=4,
    )
    if found := store.find(work):
        return found
    boards = {name: ScoreBoard(of_point) for name, of_point in scores.items()}
    first = next(iter(boards.values()))
    rows = [
        _row(name, board, first, pair, config)
        for name, board in boards.items()
        for pair in board.pairs(ARM, YARDSTICK, config)
    ]
    with store.publish(work) as draft:
        draft.write_table(TABLE, pa.Table.from_pylist(rows))
        draft.path(PAGE).write_text(_page(rows, first, base, config), "utf-8")
        draw_forest(_bars(rows), "CE (nats), DSKD − KD", draft.path(_PICTURE))
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
            line[f"{metric.title}, DSKD"] = round(row["dskd"], metric.digits)
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
    name: str, board: ScoreBoard, first: ScoreBoard, pair: Pair, config: EvaluationConfig
) -> dict[str, Any]:
    gain, change = pair.found, _change(board, first, pair, config)
    return {
        "point": name,
        "metric": pair.metric.name,
        "layers": board.row(ARM)["layers"],
        "parameters": board.row(ARM)["parameters"],
        "kd": board.row(YARDSTICK)[pair.metric.name],
        "dskd": board.row(ARM)[pair.metric.name],
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
    board: ScoreBoard, first: ScoreBoard, pair: Pair, config: EvaluationConfig
) -> Comparison | None:
    """Compare DSKD of two points on the same positions; None where they were scored on others."""
    same = ("window", pair.metric.count)
    seeds = [seed for seed in pair.seeds if seed in first.seeds(ARM)]
    if board is first or not seeds:
        return None
    mine, theirs = (b.tables[ARM, seeds[0]] for b in (board, first))
    if any(not mine[name].equals(theirs[name]) for name in same):
        return None
    return compare(
        board.sums(ARM, seeds, pair.metric.total),
        first.sums(ARM, seeds, pair.metric.total),
        first.sums(ARM, seeds[:1], pair.metric.count)[0],
        confidence=config.confidence,
        n_resamples=config.n_resamples,
    )


def _page(
    rows: Sequence[dict[str, Any]],
    first: ScoreBoard,
    base: Mapping[str, Any],
    config: EvaluationConfig,
) -> str:
    """Write a table for each metric that is shown, in Markdown."""
    level, n_seeds = f"{config.confidence:.0%}", len(first.seeds(ARM))
    values = ", ".join(f"{name}={value}" for name, value in base.items())
    lines = [
        "# Sweep",
        "",
        f"Base: {values or 'the settings as they are'}.",
        "",
        f"Every point: {n_seeds} seeds of KD and of DSKD on the same held-out text. DSKD − KD is "
        f"paired by window and seed. Bootstrap: {level} interval over {first.cluster_word} and "
        f"seeds, which speaks of other text and other seeds; t: {level} interval over seeds alone. "
        "*better* and *worse* need both to leave zero out. Last column: DSKD minus the first "
        "point's DSKD with its bootstrap interval; – where they were scored on other positions.",
        "",
        f"![DSKD − KD in CE at every point]({_PICTURE})",
    ]
    head = ["point", "student", "KD", "DSKD", "DSKD − KD", "bootstrap", "t over seeds", ""]
    for metric in _SHOWN:
        found = [row for row in rows if row["metric"] == metric.name]
        lines += ["", f"## {metric.title_with_unit}", ""] if found else []
        cells = [[*head, f"DSKD − {found[0]['point']}'s DSKD"], ["---"] * 9] if found else []
        cells += [_cells(row, metric) for row in found]
        lines += [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any], metric: Metric) -> list[str]:
    """Return a point's row of a table."""
    digits = metric.digits
    return [
        row["point"],
        _size(row),
        f"{row['kd']:.{digits}f}",
        f"{row['dskd']:.{digits}f}",
        signed(row["gain"], digits),
        interval(row["low"], row["high"], digits),
        interval(row["seed_low"], row["seed_high"], digits),
        row["verdict"],
        _with_interval(row, "change", "change_", metric),
    ]


def _bars(rows: Sequence[dict[str, Any]]) -> list[Bar]:
    """Return the gains in CE as the bars of a picture."""
    return [
        Bar(
            row["point"].replace(", ", "\n"),
            signed(row["gain"], 4),
            row["gain"],
            row["low"],
            row["high"],
            row["seed_low"],
            row["seed_high"],
            tuple(row["by_seed"]),
            row["verdict"],
        )
        for row in rows
        if row["metric"] == "ce"
    ]


def _size(row: dict[str, Any]) -> str:
    return f"{row['parameters'] / 1e6:,.1f} M, {row['layers']} layers"


def _with_interval(row: dict[str, Any], value: str, prefix: str, metric: Metric) -> str:
    if row[value] is None:
        return "–"
    ends = interval(row[f"{prefix}low"], row[f"{prefix}high"], metric.digits)
    return f"{signed(row[value], metric.digits)} {ends}"
