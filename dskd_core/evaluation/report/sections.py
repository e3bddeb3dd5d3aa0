"""The report's page, put together: what was compared, what was found, and how one can tell."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dskd_core.config import EvaluationConfig
from dskd_core.evaluation.comparison.item_board import PairedTask
from dskd_core.evaluation.comparison.score_board import YARDSTICK, Pair, ScoreBoard
from dskd_core.evaluation.comparison.statistics import Comparison
from dskd_core.evaluation.report import text
from dskd_core.evaluation.report.differing_text import MIN_GAP
from dskd_core.evaluation.report.figures import Bar, Curve, draw_forest, draw_loss
from dskd_core.evaluation.report.item_text import (
    Asked,
    Group,
    differing_items,
    pair_table,
    score_section,
    task_title,
)
from dskd_core.evaluation.report.labels import CONTROLS, NAMES, interval, signed
from dskd_core.evaluation.report.page import Page, Passage, Picture, Section
from dskd_core.store.artifacts import Artifact, Work

PICTURE = "loss.png"


@dataclass(frozen=True)
class Found:
    """All that a report is made of.

    Attributes:
        board: all scores on held-out text.
        pairs: every arm minus KD.
        control: DSKD minus each of its controls; empty without any.
        groups: benchmarks and words with known senses, where there are any.
        passages: held-out text on which the first arm and KD differ most.
        asked: the texts of benchmark questions.
        curves: the students' logs.
        students: the students.
    """

    board: ScoreBoard
    pairs: Sequence[Pair]
    control: Sequence[Pair]
    groups: Sequence[Group]
    passages: tuple[Passage, ...]
    asked: Asked
    curves: Sequence[Curve]
    students: Sequence[Artifact]


def arm_to_show(board: ScoreBoard) -> str | None:
    """Return the arm whose differences from KD are shown one by one: DSKD, if it is there."""
    arms = [arm for arm in board.arms if arm not in ("teacher", YARDSTICK)]
    return "dskd" if "dskd" in arms else arms[0] if arms else None


def page_of(
    found: Found, work: Work, config: EvaluationConfig, place: Callable[[str], Path]
) -> Page:
    """Return the whole report, and draw its pictures.

    Args:
        found: what it is made of.
        work: the report's own work, for the fingerprints.
        config: level of the intervals and number of resamples.
        place: where a picture of some name goes.
    """
    board = found.board
    about = next(iter(board.artifacts.values())).record
    draw_loss(found.curves, place(PICTURE))
    arm = arm_to_show(board)
    sections = [
        Section("", (text.what_was_compared(board),)),
        Section("What was found", _summary(found)),
        Section(
            "Scores on held-out text",
            text.how_judged(board, config, len(found.pairs)),
            text.main_table(board, found.pairs),
        ),
        *_differences([*found.pairs, *found.control], board, config, place),
        *(part for group in found.groups for part in _of_group(group, arm, found, config, place)),
    ]
    if found.passages and arm is not None:
        words = (
            "The windows whose mean cross-entropy differs most, either way, and in each the run of "
            f"tokens that differs most. Marked tokens differ by {MIN_GAP:g} nats or more, mean of "
            f"the seeds: green where {NAMES[arm]} gives the token more probability than KD, red "
            "where less (bold and italic in the Markdown page)."
        )
        sections.append(
            Section(f"Where {NAMES[arm]} and KD differ most", (words,), passages=found.passages)
        )
    caption = "Each step's batch (thin) and its running mean (thick), all seeds."
    sections += [
        Section("Training", picture=Picture(PICTURE, caption)),
        Section("Costs", table=text.student_table(found.students)),
        Section("Made from", table=text.input_table(about.inputs, work)),
    ]
    counts, n_seeds = about.counts, len(board.seeds(YARDSTICK))
    subtitle = (
        f"{counts['positions']:,} held-out tokens, {n_seeds} seed{'s' * (n_seeds != 1)}, "
        f"{len(found.students)} students, computed in {about.precision} on {about.processor}; "
        f"report {work.fingerprint}"
    )
    return Page(f"Students of {about.report['teacher']}, compared", tuple(sections), subtitle)


def _summary(found: Found) -> tuple[str, ...]:
    lines = [text.what_was_found(found.pairs)]
    for group in found.groups:
        clear = [p for p in group.pairs if p.verdict in ("better", "worse")]
        told = [
            f"{NAMES[p.arm]} is {p.verdict} than KD in {task_title(p.task, p.protocol)} "
            f"({signed(100 * p.found.difference, 2)} points)"
            for p in clear
        ]
        none = f"no arm is told apart from KD in any of {len(group.pairs)} comparisons"
        lines.append(f"{group.title}: {'; '.join(told) or none}.")
    return (*lines, text.what_the_margin_did(found.curves, found.students))


def _differences(
    pairs: Sequence[Pair], board: ScoreBoard, config: EvaluationConfig, place: Callable[[str], Path]
) -> Iterator[Section]:
    """Yield a picture and a table for every two arms."""
    groups: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        groups.setdefault((pair.arm, pair.yardstick), []).append(pair)
    for (arm, yardstick), group in groups.items():
        bars = [bar for pair in group if (bar := _relative(pair, board)) is not None]
        name = f"forest-{arm}-{yardstick}.png"
        draw_forest(bars, f"difference, % of {NAMES[yardstick]}", place(name))
        caption = _forest_caption(arm, yardstick, "in percent of the latter's own mean", config)
        words = CONTROLS.get(yardstick)
        title = f"{NAMES[arm]} minus {NAMES[yardstick]}"
        picture, table = Picture(name, caption), text.pair_table(group, config)
        yield Section(title, (words,) if words else (), table, picture, level=3)


def _forest_caption(arm: str, yardstick: str, unit: str, config: EvaluationConfig) -> str:
    return (
        f"{NAMES[arm]} minus {NAMES[yardstick]}, {unit}. Broad: {config.confidence:.0%} bootstrap "
        "interval over items and seeds; thin: t over seeds, cut where it ends in an arrow; strokes "
        "below: each seed. Filled in green or red: better or worse, both intervals leave zero out; "
        "hollow: not told apart."
    )


def _relative(pair: Pair, board: ScoreBoard) -> Bar | None:
    """Return a difference in percent of the yardstick's mean; None where that is 0."""
    scores = [a for a in board.scores_of(pair.yardstick) if a.record.report["seed"] in pair.seeds]
    level = sum(a.record.report["means"][pair.metric.name] for a in scores) / len(scores)
    if not level:
        return None
    found, digits = pair.found, pair.metric.digits
    arrow = {"lower": " ↓", "higher": " ↑", "none": ""}[pair.metric.better]
    figures = f"{signed(found.difference, digits)}  {interval(found.low, found.high, digits)}"
    scale = 100.0 / abs(level)
    return _bar(f"{pair.metric.title}{arrow}", figures, scale, found, pair.verdict)


def _bar(label: str, figures: str, scale: float, found: Comparison, verdict: str) -> Bar:
    ends = (found.low, found.high, found.seed_low, found.seed_high)
    low, high, seed_low, seed_high = (None if end is None else end * scale for end in ends)
    assert low is not None
    assert high is not None
    by_seed = tuple(value * scale for value in found.by_seed)
    difference = found.difference * scale
    return Bar(label, figures, difference, low, high, seed_low, seed_high, by_seed, verdict)


def _of_group(
    group: Group,
    arm: str | None,
    found: Found,
    config: EvaluationConfig,
    place: Callable[[str], Path],
) -> Iterator[Section]:
    """Yield the scores of benchmarks or tagged words, the differences, and ten items."""
    yield score_section(group)
    by_arm: dict[str, list[PairedTask]] = {}
    for pair in group.pairs:
        by_arm.setdefault(pair.arm, []).append(pair)
    for name, pairs in by_arm.items():
        bars = [
            _bar(
                task_title(pair.task, pair.protocol),
                f"{signed(100 * pair.found.difference, 2)}  "
                f"{interval(100 * pair.found.low, 100 * pair.found.high, 2)}",
                100.0,
                pair.found,
                pair.verdict,
            )
            for pair in pairs
        ]
        file = f"forest-{group.stage}-{name}.png"
        draw_forest(bars, "difference, points", place(file))
        caption = _forest_caption(name, YARDSTICK, "in points", config)
        title = f"{group.title}: {NAMES[name]} minus {NAMES[YARDSTICK]}"
        table = pair_table(pairs, config)
        yield Section(title, (), table, Picture(file, caption), level=3)
    if arm is not None and (items := differing_items(group, arm, YARDSTICK, found.asked)):
        yield Section(f"{group.title}: ten items where the two differ", table=items, level=3)
