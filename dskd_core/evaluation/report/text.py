"""What the report says of held-out text and of continuations, in words and tables; no files."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dskd_core.config import EvaluationConfig
from dskd_core.evaluation.comparison.heldout_scores import HeldoutScores, MetricPair
from dskd_core.evaluation.continuations import TEXT
from dskd_core.evaluation.heldout.metrics import METRICS, Metric
from dskd_core.evaluation.report.differences import HEADERS, difference_cells
from dskd_core.evaluation.report.figures import Curve
from dskd_core.evaluation.report.labels import ARROWS, NAMES, count, signed
from dskd_core.evaluation.report.page import Cell, Section, Table
from dskd_core.store.artifacts import Artifact, Work

_NOTHING = "(ends here)"
_PERPLEXITY = Metric("perplexity", "perplexity", "", "", "lower", digits=2)


def describe_data(heldout: HeldoutScores, students: Sequence[Artifact]) -> str:
    """Say which students were compared, from what they started, and on what."""
    counts = next(iter(heldout.artifacts.values())).record.counts
    arms = [arm for arm in heldout.arms if arm != "teacher"]
    listed = ", ".join(f"{NAMES[arm]} ({len(heldout.seeds(arm))})" for arm in arms)
    share = counts["positions_with_synonyms_and_antonyms"]
    fitted = {s.record.report["arm"] for s in students if s.record.config.get("start") == "fitted"}
    named = ", ".join(NAMES[arm] for arm in arms if arm in fitted)
    differs = (
        f"In those of {named} the gap between its layers is closed by least squares first. "
        if named
        else ""
    )
    what = "the objective and that start differ" if named else "the objective differs"
    return (
        f"Arms, with the number of seeds of each: {listed}. All students start from the same copy "
        f"of the teacher. {differs}With the same seed they see the same windows in the same order, "
        f"so only {what}. They are scored on the same held-out text: "
        f"{count(counts['positions'], 'position')} in {count(counts['windows'], 'window')} of "
        f"{count(counts['documents'], 'document')}. This text was used neither for the senses "
        f"nor for training. At {share:,} positions the next token has senses of synonyms and of "
        "antonyms."
    )


def describe_findings(pairs: Sequence[MetricPair]) -> str:
    """Say in which metrics an arm is better or worse than KD, and nothing more."""
    if found := describe_decided(pairs):
        return found
    if pairs and len(pairs[0].seeds) < 2:
        return (
            "With one seed, the result may be that seed's alone, so no arm is called better. "
            "Train more seeds."
        )
    return "There is no significant difference between any arm and KD in any metric."


def describe_decided(pairs: Sequence[MetricPair]) -> str:
    """Say in which metrics an arm is better or worse than another; empty where in none."""
    found: dict[str, list[str]] = {}
    for pair in pairs:
        if pair.is_decided:
            start = f"{NAMES[pair.arm]} is {pair.verdict} than {NAMES[pair.baseline]} in"
            difference = signed(pair.comparison.difference, pair.metric.digits)
            found.setdefault(start, []).append(f"{pair.metric.title} ({difference})")
    return " ".join(f"{start} {', '.join(names)}." for start, names in found.items())


def describe_margin(curves: Sequence[Curve], students: Sequence[Artifact]) -> str:
    """Say how many negatives the margin let the hinge push away."""
    logs = [curve.history["active_share"] for curve in curves if curve.arm == "paper"]
    shares = [share for log in logs if len(share := log[np.isfinite(log)])]
    margins = {s.record.report["margin"] for s in students if s.record.report["arm"] == "paper"}
    if not shares:
        return "There is no DSKD student here, so the margin was not used."
    margin = ", ".join(f"{value:g}" for value in sorted(margins))
    mean = float(np.mean(np.concatenate(shares)))
    first, last = (float(np.mean([share[place] for share in shares])) for place in (0, -1))
    text = (
        f"The margin gamma was {margin}. In DSKD training {mean:.1%} of the negatives lay inside "
        f"the margin ({first:.1%} in the first step, {last:.1%} in the last)"
    )
    if mean < 0.01:
        return (
            f"{text}. So the push away from antonyms was practically off. A calibrated margin "
            "would turn it on."
        )
    if mean > 0.99:
        return (
            f"{text}. So the push away from antonyms was always on, and gamma made no difference."
        )
    return f"{text}."


def score_table(heldout: HeldoutScores, pairs: Sequence[MetricPair]) -> Table:
    """Return the scores, a column for each arm."""
    better = {(pair.arm, pair.metric.name) for pair in pairs if pair.verdict == "better"}
    means = {arm: heldout.summarise(arm) for arm in heldout.arms}
    spreads = {arm: heldout.summarise(arm, spread=True) for arm in heldout.arms}
    rows = [
        ("layers", *(f"{mean['layers']}" for mean in means.values())),
        ("parameters", *(f"{mean['parameters'] / 1e6:,.1f} M" for mean in means.values())),
        ("seeds", *(f"{mean['seeds'] or '–'}" for mean in means.values())),
    ]
    lines = [tuple(map(Cell, row)) for row in rows]
    for metric in METRICS:
        cells = (
            Cell(mean_sd(means[arm], spreads[arm], metric), (arm, metric.name) in better)
            for arm in heldout.arms
        )
        lines.append((Cell(f"{metric.title_with_unit} {ARROWS[metric.better]}".rstrip()), *cells))
        if metric.name == "ce":
            cells = (Cell(mean_sd(means[a], spreads[a], _PERPLEXITY)) for a in heldout.arms)
            lines.append((Cell("perplexity ↓"), *cells))
    caption = (
        "Mean over positions and seeds, ± standard deviation between seeds. ↓: lower is better; ↑: "
        "higher is better. KL is at the training temperature, without the factor T². Bold: better "
        "than KD; both intervals below exclude zero. Neither direction of the antonym MSE is "
        "better: a state that has drifted away from everything is also far from antonyms."
    )
    return Table(("", *(NAMES[arm] for arm in heldout.arms)), tuple(lines), caption)


def describe_method(
    heldout: HeldoutScores, config: EvaluationConfig, n_pairs: int
) -> tuple[str, ...]:
    """Say how the intervals were made and what they mean."""
    level = f"{config.confidence:.0%}"
    chance = (1.0 - config.confidence) * n_pairs
    fallback = (
        ""
        if heldout.cluster_word == "documents"
        else " There are fewer than ten documents, so windows were drawn. Windows of one document "
        "resemble one another, so the interval is somewhat too narrow."
    )
    return (
        f"Differences are of position-weighted means, paired by window and seed. Each has two "
        f"intervals. Bootstrap: {level} percentile interval of {config.n_resamples:,} resamples "
        f"that draw {heldout.cluster_word} and seeds; it covers other text and other seeds."
        f"{fallback} t: {level} interval over the seeds alone, for this text.",
        "A difference is called better or worse only if both intervals exclude zero. If one of "
        "them contains zero, there is no significant difference. Without any true difference, "
        f"about {chance:.1f} of {n_pairs} intervals of one kind would exclude zero by chance. "
        "Detectable: the smallest true difference that would be found with 80 % power.",
    )


def pair_table(pairs: Sequence[MetricPair], config: EvaluationConfig) -> Table:
    """Return one arm against another in every metric, with its intervals."""
    rows = (
        (
            *difference_cells(pair.metric.title_with_unit, pair, pair.metric.digits),
            Cell(pair.verdict),
        )
        for pair in pairs
    )
    seeds = ", ".join(map(str, pairs[0].seeds))
    caption = (
        f"Differences over seeds {seeds}; intervals at {config.confidence:.0%}. record.json has "
        "the difference of each seed."
    )
    return Table((*HEADERS, ""), tuple(rows), caption)


def student_table(students: Sequence[Artifact]) -> Table:
    """Return how each student trained, and what it takes on disk."""
    headers = ("", "seed", "steps", "trained parameters", "checkpoint", "last CE", "fingerprint")
    rows = tuple(_student_row(student) for student in students)
    caption = (
        "What the students cost. Seconds and peak memory differ from run to run, so they are in "
        "record.json and on the page in Prefect, and not here."
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


def mean_sd(mean: dict[str, Any], sd: dict[str, Any], metric: Metric) -> str:
    """Write an arm's mean over seeds, and its standard deviation where there are several."""
    value, spread = mean[metric.name], sd[metric.name]
    if value is None:
        return "–"
    text = f"{value:,.{metric.digits}f}"
    return text if spread is None else f"{text} ± {spread:,.{metric.digits}f}"


def continuation_sections(rows: Sequence[dict[str, Any]]) -> Iterator[Section]:
    """Yield the beginnings and what each model writes after them; nothing without any."""
    if not rows:
        return
    lines: list[tuple[Cell, Cell]] = []
    document = None
    for row in rows:
        if row["document"] != document:
            document = row["document"]
            lines.append((Cell("beginning", True), Cell(row["beginning"], True)))
        lines.append((Cell(writer(row)), Cell(row["continuation"].strip() or _NOTHING)))
    words = (
        "Beginnings of held-out documents, and the most probable tokens after them, one after the "
        "other (greedy decoding). They measure nothing; they show what the scores are worth."
    )
    table = Table(("", "text"), tuple(lines), "", is_words=True)
    yield Section("Continuations", (words,), table)


def writer(row: dict[str, Any]) -> str:
    """Return who wrote a row: a model, with its seed, or the document itself.

    >>> writer({"arm": "kd", "seed": 2}), writer({"arm": "text", "seed": None})
    ('KD, seed 2', 'the document')
    """
    if row["arm"] == TEXT:
        return "the document"
    return NAMES[row["arm"]] if row["seed"] is None else f"{NAMES[row['arm']]}, seed {row['seed']}"
