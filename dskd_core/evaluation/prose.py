"""What the report says, in words and tables; no file is read or written here."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dskd_core.artifacts import Artifact, Work
from dskd_core.config import EvaluationConfig
from dskd_core.evaluation.comparison import Pair, ScoreBoard
from dskd_core.evaluation.metrics import METRICS
from dskd_core.evaluation.page import Cell, Page, Section, Table
from dskd_core.evaluation.pictures import Curve

PICTURE = "loss.png"
_NAMES = {"teacher": "teacher", "kd": "KD", "dskd": "DSKD", "kd_mse": "KD + state MSE"}


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
        control: DSKD minus KD with state MSE; empty without that arm.
        curves: the students' logs.
        students: the students.
        work: the report's own work, for the fingerprints.
        config: level of the intervals and number of resamples.
    """
    about = next(iter(board.artifacts.values())).record
    sections = [
        Section("", (_compared(board), _told(pairs), _active(curves, students))),
        Section("Held-out scores", table=_main_table(board, pairs)),
        Section(
            "Every arm minus KD", _intervals(board, config, len(pairs)), _pair_table(pairs, config)
        ),
    ]
    if control:
        sentence = "What senses add beyond a plain pull to the teacher's own state."
        sections.append(
            Section("DSKD minus KD + state MSE", (sentence,), _pair_table(control, config))
        )
    sections += [
        Section("Seed by seed", (_seed_sentence(),), _seed_table([*pairs, *control])),
        Section("Training", ("Thin: each step's batch. Thick: running mean.",), picture=PICTURE),
        Section("Students", table=_student_table(students)),
        Section("Made from", ("Fingerprints of all inputs.",), _input_table(about.inputs, work)),
    ]
    return Page(f"Students of {about.report['teacher']} on held-out text", tuple(sections))


def _compared(board: ScoreBoard) -> str:
    counts = next(iter(board.artifacts.values())).record.counts
    arms = [arm for arm in board.arms if arm != "teacher"]
    listed = ", ".join(f"{_NAMES[arm]} ({len(board.seeds(arm))})" for arm in arms)
    share = counts["positions_with_synonyms_and_antonyms"]
    return (
        f"Students, with the number of seeds of each: {listed}. All start from the same copy of "
        "the teacher and, seed by seed, see the same windows in the same order; only the "
        f"objective differs. They are compared on the same {counts['windows']:,} held-out windows, "
        f"{counts['positions']:,} positions of {counts['documents']:,} documents that were neither "
        f"embedded nor trained on; {share:,} of the positions have a next token with both "
        "synonyms' and antonyms' senses."
    )


def _told(pairs: Sequence[Pair]) -> str:
    """Say which differences are clear, and nothing more."""
    found: dict[str, list[str]] = {}
    for pair in pairs:
        if pair.verdict in ("better", "worse"):
            words = f"{pair.metric.title} ({pair.found.difference:+.{pair.metric.digits}f})"
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
    better = {(pair.arm, pair.metric.name) for pair in pairs if pair.verdict == "better"}
    headers, rows = ["", "seeds", "layers", "parameters"], []
    for metric in METRICS:
        headers.append(metric.title)
        headers += ["perplexity"] if metric.name == "ce" else []
    for arm in board.arms:
        mean, spread = board.row(arm), board.row(arm, spread=True)
        cells = [
            Cell(_NAMES[arm]),
            Cell(str(mean["seeds"]) if mean["seeds"] else "–"),
            Cell(str(mean["layers"])),
            Cell(f"{mean['parameters'] / 1e6:,.1f} M"),
        ]
        for metric in METRICS:
            text = _mean_sd(mean[metric.name], spread[metric.name], metric.digits)
            cells.append(Cell(text, (arm, metric.name) in better))
            if metric.name == "ce":
                cells.append(Cell(_mean_sd(mean["perplexity"], spread["perplexity"], 2)))
        rows.append(tuple(cells))
    caption = (
        "Mean over seeds ± standard deviation between seeds. Bold: better than KD, both intervals "
        "of the next table leave zero out. Antonym MSE has no better direction: a state that has "
        "drifted from everything is far from antonyms too."
    )
    return Table(tuple(headers), tuple(rows), caption)


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
    headers = ("", "arms", "difference", "bootstrap", "t over seeds", "detectable", "seeds", "")
    rows = []
    for pair in pairs:
        found, digits = pair.found, pair.metric.digits
        rows.append(
            (
                Cell(pair.metric.title),
                Cell(f"{_NAMES[pair.arm]} − {_NAMES[pair.yardstick]}"),
                Cell(f"{found.difference:+.{digits}f}", pair.verdict in ("better", "worse")),
                Cell(_interval(found.low, found.high, digits)),
                Cell(_interval(found.seed_low, found.seed_high, digits)),
                Cell(f"{found.detectable:.{digits}f}"),
                Cell(str(len(pair.seeds))),
                Cell(pair.verdict),
            )
        )
    return Table(headers, tuple(rows), f"Intervals at {config.confidence:.0%}.")


def _seed_sentence() -> str:
    return "The same differences for each seed: a real effect has one sign."


def _seed_table(pairs: Sequence[Pair]) -> Table:
    seeds = sorted({seed for pair in pairs for seed in pair.seeds})
    rows = []
    for pair in pairs:
        values = dict(zip(pair.seeds, pair.found.by_seed, strict=True))
        figures = (
            f"{values[seed]:+.{pair.metric.digits}f}" if seed in values else "–" for seed in seeds
        )
        arms = f"{_NAMES[pair.arm]} − {_NAMES[pair.yardstick]}"
        rows.append((Cell(pair.metric.title), Cell(arms), *map(Cell, figures)))
    return Table(("", "arms", *(f"seed {seed}" for seed in seeds)), tuple(rows))


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
    return f"[{low:+.{digits}f}, {high:+.{digits}f}]"


def _mean_sd(mean: float | None, sd: float | None, digits: int) -> str:
    if mean is None:
        return "–"
    return f"{mean:,.{digits}f}" + ("" if sd is None else f" ± {sd:,.{digits}f}")
