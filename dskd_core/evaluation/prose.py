"""What the report says, in words and tables; no file is read or written here."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dskd_core.artifacts import Artifact, Work
from dskd_core.config import EvaluationConfig
from dskd_core.evaluation.comparison import Pair, ScoreBoard
from dskd_core.evaluation.metrics import METRICS, Metric
from dskd_core.evaluation.page import Cell, Page, Section, Table
from dskd_core.evaluation.pictures import Curve

PICTURE = "loss.png"
_CONTROLS = {
    "kd_mse": "What senses add beyond a plain pull to the teacher's own state.",
    "dskd_own": "What synonyms and antonyms add to a token's own senses.",
    "dskd_shuffled": "What the right relations add to random ones.",
    "dskd_no_hinge": "What the push away from antonyms adds to the pull.",
}
_NAMES = {
    "teacher": "teacher",
    "kd": "KD",
    "dskd": "DSKD",
    "kd_mse": "KD + state MSE",
    "dskd_own": "DSKD, own senses",
    "dskd_shuffled": "DSKD, shuffled",
    "dskd_no_hinge": "DSKD, no hinge",
}
_ARROWS = {"lower": "↓", "higher": "↑", "none": ""}
_PERPLEXITY = Metric("perplexity", "perplexity", "", "", "lower", digits=2)


def page_of(
    board: ScoreBoard,
    pairs: Sequence[Pair],
    control: Sequence[Pair],
    curves: Sequence[Curve],
    students: Sequence[Artifact],
    work: Work,
    config: EvaluationConfig,
) -> Page:
    """Return the whole report.

    Args:
        board: all scores.
        pairs: every arm minus KD.
        control: DSKD minus each of its controls; empty without any.
        curves: the students' logs.
        students: the students.
        work: the report's own work, for the fingerprints.
        config: level of the intervals and number of resamples.
    """
    about = next(iter(board.artifacts.values())).record
    sections = [
        Section("", (_compared(board), _told(pairs), _active(curves, students))),
        Section("Held-out scores", table=_main_table(board, pairs)),
        Section("How the differences are judged", _intervals(board, config, len(pairs))),
    ]
    for group in _by_arm([*pairs, *control]):
        title = f"{_NAMES[group[0].arm]} minus {_NAMES[group[0].yardstick]}"
        words = _CONTROLS.get(group[0].yardstick)
        sections.append(Section(title, (words,) if words else (), _pair_table(group, config)))
    sections += [
        Section("Training", ("Thin: each step's batch. Thick: running mean.",), picture=PICTURE),
        Section("Students", table=_student_table(students)),
        Section("Made from", ("Fingerprints of all inputs.",), _input_table(about.inputs, work)),
    ]
    return Page(f"Students of {about.report['teacher']} on held-out text", tuple(sections))


def _by_arm(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """Return the pairs in groups of the same two arms."""
    groups: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        groups.setdefault((pair.arm, pair.yardstick), []).append(pair)
    return list(groups.values())


def _compared(board: ScoreBoard) -> str:
    counts = next(iter(board.artifacts.values())).record.counts
    arms = [arm for arm in board.arms if arm != "teacher"]
    listed = ", ".join(f"{_NAMES[arm]} ({len(board.seeds(arm))})" for arm in arms)
    share = counts["positions_with_synonyms_and_antonyms"]
    return (
        f"Students, with the number of seeds of each: {listed}. All start from the same copy of "
        "the teacher and, seed by seed, see the same windows in the same order; only the "
        f"objective differs. They are compared on the same "
        f"{_count(counts['windows'], 'held-out window')}, "
        f"{_count(counts['positions'], 'position')} of {_count(counts['documents'], 'document')} "
        f"that were neither embedded nor trained on; at {share:,} of the positions the next token "
        "has both synonyms' and antonyms' senses."
    )


def _told(pairs: Sequence[Pair]) -> str:
    """Say which differences are clear, and nothing more."""
    found: dict[str, list[str]] = {}
    for pair in pairs:
        if pair.verdict in ("better", "worse"):
            words = f"{pair.metric.title} ({_signed(pair.found.difference, pair.metric.digits)})"
            found.setdefault(f"{_NAMES[pair.arm]} is {pair.verdict} than KD in", []).append(words)
    if found:
        return " ".join(f"{start} {', '.join(names)}." for start, names in found.items())
    if pairs and len(pairs[0].seeds) < 2:
        return (
            "With one seed, nothing can be said of another: no arm is called better. "
            "Train more seeds."
        )
    return "No arm is told apart from KD in any metric: every difference is within chance."


def _active(curves: Sequence[Curve], students: Sequence[Artifact]) -> str:
    """Say how much the margin did."""
    shares = [curve.history["active_share"] for curve in curves if curve.arm == "dskd"]
    margins = {s.record.report["margin"] for s in students if s.record.report["arm"] == "dskd"}
    if not shares:
        return "No DSKD student is among them, so no margin was at work."
    margin = ", ".join(f"{value:g}" for value in sorted(margins))
    mean = float(np.mean(np.concatenate(shares)))
    first, last = (float(np.mean([share[place] for share in shares])) for place in (0, -1))
    text = (
        f"The margin gamma was {margin}. Of the negatives met in DSKD training, {mean:.1%} lay "
        f"inside it ({first:.1%} in the first step, {last:.1%} in the last)"
    )
    if mean < 0.01:
        return (
            f"{text}: the push away from antonyms was practically off; a calibrated margin "
            "would turn it on."
        )
    if mean > 0.99:
        return f"{text}: the push away from antonyms was always on, so gamma chose nothing."
    return f"{text}."


def _main_table(board: ScoreBoard, pairs: Sequence[Pair]) -> Table:
    """Return the scores, a column for each arm."""
    better = {(pair.arm, pair.metric.name) for pair in pairs if pair.verdict == "better"}
    means = {arm: board.row(arm) for arm in board.arms}
    spreads = {arm: board.row(arm, spread=True) for arm in board.arms}
    rows = [
        ("layers", *(f"{mean['layers']}" for mean in means.values())),
        ("parameters", *(f"{mean['parameters'] / 1e6:,.1f} M" for mean in means.values())),
        ("seeds", *(f"{mean['seeds'] or '–'}" for mean in means.values())),
    ]
    lines = [tuple(map(Cell, row)) for row in rows]
    for metric in METRICS:
        cells = (
            Cell(_mean_sd(means[arm], spreads[arm], metric), (arm, metric.name) in better)
            for arm in board.arms
        )
        lines.append((Cell(f"{metric.title_with_unit} {_ARROWS[metric.better]}".rstrip()), *cells))
        if metric.name == "ce":
            cells = (Cell(_mean_sd(means[a], spreads[a], _PERPLEXITY)) for a in board.arms)
            lines.append((Cell("perplexity ↓"), *cells))
    caption = (
        "Means over positions, then over seeds, ± standard deviation between seeds; ↓ lower is "
        "better, ↑ higher. KL at the training temperature, without the factor T². Bold: better "
        "than KD, both intervals below leave zero out. Antonym MSE has no better direction: a "
        "state that has drifted from everything is far from antonyms too."
    )
    return Table(("", *(_NAMES[arm] for arm in board.arms)), tuple(lines), caption)


def _intervals(board: ScoreBoard, config: EvaluationConfig, n_pairs: int) -> tuple[str, ...]:
    level = f"{config.confidence:.0%}"
    chance = (1.0 - config.confidence) * n_pairs
    fallback = (
        ""
        if board.cluster_word == "documents"
        else " Windows were drawn because there are fewer than ten documents; they resemble one "
        "another within a document, so the interval is rather too narrow."
    )
    return (
        f"Differences of position-weighted means, paired by window and seed. Bootstrap: {level} "
        f"percentile interval of {config.n_resamples:,} resamples that draw {board.cluster_word} "
        f"and seeds, crossed; it speaks of other text and other seeds.{fallback} t: {level} "
        "interval over the seeds alone, for this very text.",
        f"A difference is called better or worse only where both leave zero out. Of {n_pairs} "
        f"comparisons about {chance:.1f} would leave it out of one interval by chance alone. "
        "Detectable: the smallest true difference that would be found with 80 % power.",
    )


def _pair_table(pairs: Sequence[Pair], config: EvaluationConfig) -> Table:
    """Return one arm against another: intervals, and the difference of each seed."""
    seeds = pairs[0].seeds
    headers = ("", "difference", "bootstrap", "t over seeds", "detectable", "")
    rows = []
    for pair in pairs:
        found, digits = pair.found, pair.metric.digits
        rows.append(
            (
                Cell(pair.metric.title_with_unit),
                Cell(_signed(found.difference, digits), pair.verdict in ("better", "worse")),
                Cell(_interval(found.low, found.high, digits)),
                Cell(_interval(found.seed_low, found.seed_high, digits)),
                Cell(f"{found.detectable:.{digits}f}"),
                Cell(pair.verdict),
                *(Cell(_signed(value, digits)) for value in found.by_seed),
            )
        )
    caption = f"Intervals at {config.confidence:.0%}; on the right, the difference of each seed."
    return Table((*headers, *(f"seed {seed}" for seed in seeds)), tuple(rows), caption)


def _student_table(students: Sequence[Artifact]) -> Table:
    headers = ("", "seed", "steps", "trained parameters", "bytes", "last CE", "fingerprint")
    rows = tuple(_student_row(student) for student in students)
    return Table(headers, rows, "The seconds each took stand in the records, not in this page.")


def _student_row(student: Artifact) -> tuple[Cell, ...]:
    record = student.record
    texts: tuple[Any, ...] = (
        _NAMES[record.report["arm"]],
        record.report["seed"],
        f"{record.counts['steps']:,}",
        f"{record.counts['trainable_parameters'] / 1e6:,.1f} M",
        f"{record.n_bytes / 1e6:,.1f} MB",
        f"{record.report['last_step']['ce']:.4f}",
        record.fingerprint,
    )
    return tuple(Cell(str(text)) for text in texts)


def _input_table(shared: dict[str, str], work: Work) -> Table:
    common = {name: value for name, value in shared.items() if name != "student"}
    rows = tuple((Cell(name), Cell(value)) for name, value in (common | work.inputs).items())
    return Table(("input", "fingerprint"), rows)


def _interval(low: float | None, high: float | None, digits: int) -> str:
    if low is None or high is None:
        return "–"
    return f"[{_signed(low, digits)}, {_signed(high, digits)}]"


def _signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _mean_sd(mean: dict[str, Any], sd: dict[str, Any], metric: Metric) -> str:
    value, spread = mean[metric.name], sd[metric.name]
    if value is None:
        return "–"
    text = f"{value:,.{metric.digits}f}"
    return text if spread is None else f"{text} ± {spread:,.{metric.digits}f}"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
