"""The report: teacher, KD and DSKD on the same held-out text, with intervals.

    report.html   one page, style and pictures inside it
    report.md     the same, the pictures beside it
    loss.png      cross-entropy and the hinge's active share of every student, by step
    forest-*.png  the differences of two arms and their intervals

Its record holds what the page shows as numbers: ``table`` (a row for each arm, to be printed),
``means`` and ``sd`` (the same in full),
``comparison`` (every arm minus KD), ``control`` (DSKD minus KD with state MSE), ``intervals``
(all of both comparisons: differences by seed, t-interval, smallest detectable difference),
``items`` (the same of benchmarks and of words with known senses) and ``students`` (steps, seconds,
bytes).
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from dskd_core.config import EvaluationConfig
from dskd_core.decoder.tokenizer import load_tokenizer
from dskd_core.evaluation.benchmarks.store import STAGE as BENCHMARK_SCORES
from dskd_core.evaluation.comparison.item_board import PairedTask, subject_of
from dskd_core.evaluation.comparison.score_board import ARMS, YARDSTICK, Pair, ScoreBoard
from dskd_core.evaluation.heldout.metrics import METRICS
from dskd_core.evaluation.report.differing_text import differing_windows
from dskd_core.evaluation.report.figures import Curve
from dskd_core.evaluation.report.item_text import Asked, groups_of, prompt_ends
from dskd_core.evaluation.report.labels import NAMES
from dskd_core.evaluation.report.page import Passage, to_html, to_markdown
from dskd_core.evaluation.report.sections import Found, arm_to_show, page_of
from dskd_core.progress import Progress, silent
from dskd_core.store.artifacts import Artifact, ArtifactStore, Work
from dskd_core.training.loop.loop import HISTORY
from dskd_core.training.student.shape import MODEL
from dskd_core.training.student.shape import STAGE as UNTRAINED

_IN_TABLE = {
    "ce",
    "kl",
    "top1_agreement",
    "own_synonym_mse",
    "antonym_mse",
    "synonym_nearer",
}


def build_report(
    store: ArtifactStore,
    config: EvaluationConfig,
    scores: list[Artifact],
    students: list[Artifact],
    *,
    items: Sequence[Artifact] = (),
    progress: Progress = silent,
) -> Artifact:
    """Compare the arms and write it down for people.

    Args:
        store: where the report is kept.
        config: level of the intervals and number of resamples.
        scores: of the teacher, if wanted, and of every student.
        students: the students, for how they trained.
        items: ``benchmark-scores`` and ``sense-scores`` of the same subjects, if any.
        progress: told metrics compared.

    Raises:
        ArtifactError: if KD is missing, a subject comes twice, or the windows differ.
    """
    board = ScoreBoard(sorted(scores, key=_subject))
    students = sorted(students, key=_place)
    work = Work(
        "report",
        config.model_dump(mode="json", include={"confidence", "n_resamples"}),
        {
            f"{artifact.record.stage} {_subject(artifact)}": artifact.fingerprint
            for artifact in (*board.artifacts.values(), *students)
        }
        | {f"{a.record.stage} {_task(a)}{_subject(a)}": a.fingerprint for a in items},
        version=2,
    )
    if found := store.find(work):
        return found
    with store.publish(work) as draft:
        pairs, control = _compare(board, config, progress)
        curves = [_curve(student) for student in students]
        groups = groups_of(items, YARDSTICK, config)
        content = Found(
            board,
            pairs,
            control,
            groups,
            _passages(store, board),
            _questions(store, items),
            curves,
            students,
        )
        page = page_of(content, work, config, draft.path)
        draft.path("report.md").write_text(to_markdown(page), "utf-8")
        draft.path("report.html").write_text(to_html(page, draft.folder), "utf-8")
        any_score = board.scores_of(YARDSTICK)[0].record.counts
        draft.counts |= {key: any_score[key] for key in ("windows", "documents", "positions")}
        draft.counts |= {"students": len(students), "arms": len(board.arms)}
        draft.report |= _numbers(content)
    return store.get(work.stage, work.fingerprint)


def _numbers(found: Found) -> dict[str, Any]:
    """Return every number on the page, and more, for the record."""
    board = found.board
    return {
        "table": [_shown(board.row(arm)) for arm in board.arms],
        "means": [_rounded(board.row(arm)) for arm in board.arms],
        "sd": [_rounded(board.row(arm, spread=True)) for arm in board.arms],
        "comparison": [_line(pair) for pair in found.pairs],
        "control": [_line(pair) for pair in found.control],
        "intervals": [_details(pair) for pair in (*found.pairs, *found.control)],
        "items": [_paired(pair) for group in found.groups for pair in group.pairs],
        "clusters": board.cluster_word,
        "active_share": {
            f"{curve.arm} seed {curve.seed}": round(float(curve.history["active_share"].mean()), 6)
            for curve in found.curves
            if "active_share" in curve.history
        },
        "students": [_cost(student) for student in found.students],
    }


def costs_as_markdown(report: Artifact) -> str:
    """Return what every student cost, as a section of Markdown.

    Seconds are of the run and not of the content: a run that was killed and went on makes the
    same page, byte for byte, in another time. So they stand in the record, and are shown from it.
    """
    lines = ["", "## What it took", "", "| student | steps | seconds | checkpoint | peak memory |"]
    lines.append("|---|---:|---:|---:|---:|")
    for cost in report.record.report["students"]:
        peak = f"{cost['peak_bytes'] / 1e6:,.0f} MB" if cost.get("peak_bytes") else "–"
        lines.append(
            f"| {NAMES[cost['arm']]}, seed {cost['seed']} | {cost['steps']:,} "
            f"| {cost['seconds']:,.1f} | {cost['bytes'] / 1e6:,.1f} MB | {peak} |"
        )
    return "\n".join(lines) + "\n"


def _compare(
    board: ScoreBoard, config: EvaluationConfig, progress: Progress
) -> tuple[list[Pair], list[Pair]]:
    """Compare every arm with KD, and DSKD with its controls; return both."""
    arms = [arm for arm in board.arms if arm not in ("teacher", YARDSTICK)]
    pairs: list[Pair] = []
    for done, arm in enumerate(arms):
        pairs += board.pairs(arm, YARDSTICK, config)
        progress(done + 1, len(arms), "arms")
    controls = [arm for arm in arms if arm != "dskd"] if "dskd" in arms else []
    return pairs, [pair for arm in controls for pair in board.pairs("dskd", arm, config)]


def _passages(store: ArtifactStore, board: ScoreBoard) -> tuple[Passage, ...]:
    """Return the held-out text on which an arm and KD differ most."""
    arm = arm_to_show(board)
    seeds = sorted(set(board.seeds(arm or "")) & set(board.seeds(YARDSTICK)))
    if arm is None or not seeds:
        return ()
    scores = [[board.artifacts[name, seed] for seed in seeds] for name in (arm, YARDSTICK)]
    untrained = scores[0][0].record.inputs.get(UNTRAINED)
    if untrained is None:  # scores that were not made by score_student
        return ()
    tokenizer = load_tokenizer(store.get(UNTRAINED, untrained).folder() / MODEL)
    return differing_windows(scores[0], scores[1], (NAMES[arm], NAMES[YARDSTICK]), tokenizer)


def _questions(store: ArtifactStore, items: Sequence[Artifact]) -> Asked:
    """Return how to look up the end of a benchmark question's prompt."""
    texts: dict[tuple[str, str, str], str] = {}
    for artifact in [a for a in items if a.record.stage == BENCHMARK_SCORES][:1]:
        texts = prompt_ends(store, artifact)
    return lambda *question: texts.get(question, "")


def _task(artifact: Artifact) -> str:
    return f"{artifact.record.report['task']} " if "task" in artifact.record.report else ""


def _subject(artifact: Artifact) -> str:
    arm, seed = subject_of(artifact)
    return arm if seed is None else f"{arm} {seed}"


def _place(student: Artifact) -> tuple[int, int]:
    report = student.record.report
    return ARMS.index(report["arm"]), report["seed"]


def _curve(student: Artifact) -> Curve:
    table = student.table(HISTORY)
    history = {name: table[name].to_numpy().astype(np.float64) for name in table.column_names}
    return Curve(student.record.report["arm"], student.record.report["seed"], history)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return an arm's row as the tables of tasks and flows show it, narrow enough for a screen."""
    about = {"arm": row["arm"], "seeds": row["seeds"], "layers": row["layers"]}
    scores = {metric.title: row[metric.name] for metric in METRICS if metric.name in _IN_TABLE}
    first = {
        "params (M)": row["parameters"] / 1e6,
        "CE": row["ce"],
        "perplexity": row["perplexity"],
    }
    return _rounded(about | first | scores)


def _line(pair: Pair) -> dict[str, Any]:
    """Return a comparison as the tables of tasks and flows show it."""
    return _rounded(
        {
            "metric": pair.metric.title,
            "arms": f"{pair.arm} - {pair.yardstick}",
            "difference": pair.found.difference,
            "low": pair.found.low,
            "high": pair.found.high,
            "seeds": len(pair.seeds),
            "excludes_zero": "yes" if pair.found.excludes_zero else "no",
            "verdict": pair.verdict,
        }
    )


def _details(pair: Pair) -> dict[str, Any]:
    found = pair.found
    return _rounded(
        {
            "metric": pair.metric.name,
            "arms": f"{pair.arm} - {pair.yardstick}",
            "difference": found.difference,
            "bootstrap_low": found.low,
            "bootstrap_high": found.high,
            "t_low": found.seed_low,
            "t_high": found.seed_high,
            "smallest_detectable": found.detectable,
            "by_seed": dict(
                zip(map(str, pair.seeds), (round(d, 6) for d in found.by_seed), strict=True)
            ),
        }
    )


def _paired(pair: PairedTask) -> dict[str, Any]:
    """Return a comparison of items as the record keeps it; scores from 0 to 1."""
    row = {
        "task": pair.task,
        "protocol": pair.protocol,
        "arms": f"{pair.arm} - {pair.yardstick}",
        "items": pair.n_items,
        "seeds": len(pair.seeds),
        pair.arm: pair.arm_value,
        pair.yardstick: pair.yardstick_value,
        "difference": pair.found.difference,
        "bootstrap_low": pair.found.low,
        "bootstrap_high": pair.found.high,
        "t_low": pair.found.seed_low,
        "t_high": pair.found.seed_high,
        "smallest_detectable": pair.found.detectable,
        "verdict": pair.verdict,
    }
    test = asdict(pair.test) if pair.test else None
    return _rounded(row) | {"mcnemar": test}


def _cost(student: Artifact) -> dict[str, Any]:
    """Return what a student cost; seconds are of the run, so they stand in the record alone."""
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


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {key: round(v, 6) if isinstance(v, float) else v for key, v in row.items()}
