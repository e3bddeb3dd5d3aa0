"""What the report says of the held-out text, in words and tables; no file is written here."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dskd_core.config import EvaluationConfig
from dskd_core.evaluation.comparison.score_board import Pair, ScoreBoard
from dskd_core.evaluation.heldout.metrics import METRICS, Metric
from dskd_core.evaluation.report.figures import Curve
from dskd_core.evaluation.report.labels import ARROWS, NAMES, counted, interval, signed
from dskd_core.evaluation.report.page import Cell, Table
from dskd_core.store.artifacts import Artifact, Work

_PERPLEXITY = Metric("perplexity", "perplexity", "", "", "lower", digits=2)


def what_was_compared(board: ScoreBoard) -> str:
    """Say which students were compared, and on what."""
    counts = next(iter(board.artifacts.values())).record.counts
    arms = [arm for arm in board.arms if arm != "teacher"]
    listed = ", ".join(f"{NAMES[arm]} ({len(board.seeds(arm))})" for arm in arms)
    share = counts["positions_with_synonyms_and_antonyms"]
    return (
        f"Students, with the number of seeds of each: {listed}. All start from the same copy of "
        "the teacher and, seed by seed, see the same windows in the same order; only the "
        f"objective differs. They are compared on the same "
        f"{counted(counts['windows'], 'held-out window')}, "
        f"{counted(counts['positions'], 'position')} of {counted(counts['documents'], 'document')} "
        f"that were neither embedded nor trained on; at {share:,} of the positions the next token "
        "has both synonyms' and antonyms' senses."
    )


def what_was_found(pairs: Sequence[Pair]) -> str:
    """Say which differences are clear, and nothing more."""
    found: dict[str, list[str]] = {}
    for pair in pairs:
        if pair.verdict in ("better", "worse"):
            words = f"{pair.metric.title} ({signed(pair.found.difference, pair.metric.digits)})"
            found.setdefault(f"{NAMES[pair.arm]} is {pair.verdict} than KD in", []).append(words)
    if found:
        return " ".join(f"{start} {', '.join(names)}." for start, names in found.items())
    if pairs and len(pairs[0].seeds) < 2:
        return (
            "With one seed, nothing can be said of another: no arm is called better. "
            "Train more seeds."
        )
    return "No arm is told apart from KD in any metric: every difference is within chance."


def what_the_margin_did(curves: Sequence[Curve], students: Sequence[Artifact]) -> str:
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


def main_table(board: ScoreBoard, pairs: Sequence[Pair]) -> Table:
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
        lines.append((Cell(f"{metric.title_with_unit} {ARROWS[metric.better]}".rstrip()), *cells))
        if metric.name == "ce":
            cells = (Cell(_mean_sd(means[a], spreads[a], _PERPLEXITY)) for a in board.arms)
            lines.append((Cell("perplexity ↓"), *cells))
    caption = (
        "Means over positions, then over seeds, ± standard deviation between seeds; ↓ lower is "
        "better, ↑ higher. KL at the training temperature, without the factor T². Bold: better "
        "than KD, both intervals below leave zero out. Antonym MSE has no better direction: a "
        "state that has drifted from everything is far from antonyms too."
    )
    return Table(("", *(NAMES[arm] for arm in board.arms)), tuple(lines), caption)


def how_judged(board: ScoreBoard, config: EvaluationConfig, n_pairs: int) -> tuple[str, ...]:
    """Say how the intervals were made and what they speak of."""
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


def pair_table(pairs: Sequence[Pair], config: EvaluationConfig) -> Table:
    """Return one arm against another in every metric, with its intervals."""
    headers = ("", "difference", "bootstrap", "t over seeds", "detectable", "")
    rows = []
    for pair in pairs:
        found, digits = pair.found, pair.metric.digits
        rows.append(
            (
                Cell(pair.metric.title_with_unit),
                Cell(signed(found.difference, digits), pair.verdict in ("better", "worse")),
                Cell(interval(found.low, found.high, digits)),
                Cell(interval(found.seed_low, found.seed_high, digits)),
                Cell(f"{found.detectable:.{digits}f}"),
                Cell(pair.verdict),
            )
        )
    seeds = ", ".join(map(str, pairs[0].seeds))
    caption = (
        f"Differences over seeds {seeds}; intervals at {config.confidence:.0%}. The difference of "
        "each seed stands in record.json."
    )
    return Table(headers, tuple(rows), caption)


def student_table(students: Sequence[Artifact]) -> Table:
    """Return how each student trained, and what it takes on disk."""
    headers = ("", "seed", "steps", "trained parameters", "checkpoint", "last CE", "fingerprint")
    rows = tuple(_student_row(student) for student in students)
    caption = (
        "What the students cost: the bytes are the checkpoint's. Seconds and peak memory differ "
        "from run to run and this page does not: they stand in record.json beside it and in the "
        "page shown in Prefect."
    )
    return Table(headers, rows, caption)


def _student_row(student: Artifact) -> tuple[Cell, ...]:
    record = student.record
    texts: tuple[Any, ...] = (
        NAMES[record.report["arm"]],
        record.report["seed"],
        f"{record.counts['steps']:,}",
        f"{record.counts['trainable_parameters'] / 1e6:,.1f} M",
        f"{record.n_bytes / 1e6:,.1f} MB",
        f"{record.report['last_step']['ce']:.4f}",
        record.fingerprint,
    )
    return tuple(Cell(str(text)) for text in texts)


def input_table(shared: dict[str, str], work: Work) -> Table:
    """Return the fingerprints of all inputs."""
    common = {name: value for name, value in shared.items() if name != "student"}
    rows = tuple((Cell(name), Cell(value)) for name, value in (common | work.inputs).items())
    return Table(("input", "fingerprint"), rows, "Fingerprints of all inputs.")


def _mean_sd(mean: dict[str, Any], sd: dict[str, Any], metric: Metric) -> str:
    value, spread = mean[metric.name], sd[metric.name]
    if value is None:
        return "–"
    text = f"{value:,.{metric.digits}f}"
    return text if spread is None else f"{text} ± {spread:,.{metric.digits}f}"
