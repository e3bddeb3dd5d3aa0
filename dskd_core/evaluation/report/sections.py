"""The report's page, put together: what was compared, how it was measured, and what was found."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dskd_core.config import EvaluationConfig
from dskd_core.evaluation.comparison.arms import BASELINE, leading_arm
from dskd_core.evaluation.comparison.heldout_scores import HeldoutScores, MetricPair
from dskd_core.evaluation.comparison.item_scores import TaskPair
from dskd_core.evaluation.report import text
from dskd_core.evaluation.report.breakdown import (
    OtherText,
    frequency_sections,
    other_text_sections,
)
from dskd_core.evaluation.report.controls import Control
from dskd_core.evaluation.report.differences import describe_bars, difference_bar
from dskd_core.evaluation.report.differing_text import MIN_GAP
from dskd_core.evaluation.report.figures import Bar, Curve, draw_differences, draw_training
from dskd_core.evaluation.report.item_text import (
    ItemGroup,
    QuestionText,
    differing_items,
    pair_table,
    score_section,
    task_title,
)
from dskd_core.evaluation.report.labels import ARROWS, CONTROLS, NAMES, count, signed
from dskd_core.evaluation.report.page import Excerpt, Page, Picture, Section
from dskd_core.store.artifacts import Artifact, Work

PICTURE = "loss.png"


@dataclass(frozen=True)
class ReportContent:
    """All that a report is made of.

    Attributes:
        heldout: all scores on held-out text.
        pairs: every arm minus KD.
        control: the leading arm minus each other one, and each arm minus its control; empty
            without any.
        controls: which arm is whose control.
        by_frequency: both, in CE by how often training showed the next token.
        other_texts: the same on text of other domains, where there is any.
        groups: benchmarks and words with known senses, where there are any.
        excerpts: held-out text on which the first arm and KD differ most.
        question_text: the texts of benchmark questions.
        continuations: what teacher and students write after the same beginnings.
        curves: the students' logs.
        students: the students.
    """

    heldout: HeldoutScores
    pairs: Sequence[MetricPair]
    control: Sequence[MetricPair]
    controls: Sequence[Control]
    by_frequency: Sequence[MetricPair]
    other_texts: Sequence[OtherText]
    groups: Sequence[ItemGroup]
    excerpts: tuple[Excerpt, ...]
    question_text: QuestionText
    continuations: Sequence[dict[str, Any]]
    curves: Sequence[Curve]
    students: Sequence[Artifact]


def build_page(
    content: ReportContent,
    work: Work,
    config: EvaluationConfig,
    picture_path: Callable[[str], Path],
) -> Page:
    """Return the whole report, and draw its pictures."""
    heldout = content.heldout
    scored = next(iter(heldout.artifacts.values())).record
    draw_training(content.curves, picture_path(PICTURE))
    method = text.describe_method(heldout, config, len(content.pairs))
    caption = (
        "Each step's batch (thin) and the running mean (thick), all seeds. What the first tenth of "
        "the steps has above all later ones is cut off."
    )
    sections = [
        Section("", (text.describe_data(heldout, content.students),)),
        Section("Findings", _summarise(content)),
        Section("Scores on held-out text", method, text.score_table(heldout, content.pairs)),
        *_metric_sections(content, config, picture_path),
        *frequency_sections(heldout, content.by_frequency, config),
        *other_text_sections(content.other_texts, config),
        *_item_sections(content, config, picture_path),
        *_excerpt_sections(content),
        *text.continuation_sections(content.continuations),
        Section("Training", picture=Picture(PICTURE, caption)),
        Section("Costs", table=text.student_table(content.students)),
        Section("Inputs", table=text.input_table(scored.inputs, work)),
    ]
    subtitle = (
        f"{count(scored.counts['positions'], 'held-out token')}, "
        f"{count(len(heldout.seeds(BASELINE)), 'seed')}, "
        f"{count(len(content.students), 'student')}, computed in {scored.precision} on "
        f"{scored.processor}; report {work.fingerprint}"
    )
    return Page(f"Students of {scored.report['teacher']}, compared", tuple(sections), subtitle)


def _summarise(content: ReportContent) -> tuple[str, ...]:
    lines = [text.describe_findings(content.pairs)]
    if by_frequency := text.describe_decided(content.by_frequency):
        lines.append(f"By how often training showed the next token: {by_frequency}")
    lines += _control_findings(content.controls, content.control)
    for other in content.other_texts:
        found = text.describe_findings(other.pairs)
        lines.append(f"On the other text {other.name}: {found}")
        for line in _control_findings(content.controls, other.control):
            lines.append(f"On the other text {other.name}: {line}")
    for group in content.groups:
        decided = [
            f"{NAMES[p.arm]} is {p.verdict} than KD in {task_title(p.task, p.protocol)} "
            f"({signed(100 * p.comparison.difference, 2)} points)"
            for p in group.pairs
            if p.is_decided
        ]
        n_pairs = count(len(group.pairs), "comparison")
        none = f"no significant difference between any arm and KD in {n_pairs}"
        lines.append(f"{group.title}: {'; '.join(decided) or none}.")
    return (*lines, text.describe_margin(content.curves, content.students))


def _control_findings(controls: Sequence[Control], pairs: Sequence[MetricPair]) -> Iterator[str]:
    """Say of every arm that has its control what the relations of the dictionary are worth."""
    for control in controls:
        names = control.arm, control.baseline
        compared = [pair for pair in pairs if (pair.arm, pair.baseline) == names]
        if compared and len(compared[0].seeds) > 1:  # of one seed nothing is said
            yield text.describe_decided(compared) or (
                f"There is no significant difference between {NAMES[control.arm]} and its control "
                f"{NAMES[control.baseline]} in any metric."
            )


def _metric_sections(
    content: ReportContent, config: EvaluationConfig, picture_path: Callable[[str], Path]
) -> Iterator[Section]:
    """Yield a picture and a table for every two arms."""
    about = {("paper", baseline): words for baseline, words in CONTROLS.items()}
    about |= {(control.arm, control.baseline): control.words for control in content.controls}
    by_arms: dict[tuple[str, str], list[MetricPair]] = {}
    for pair in (*content.pairs, *content.control):
        by_arms.setdefault((pair.arm, pair.baseline), []).append(pair)
    for (arm, baseline), of_arms in by_arms.items():
        bars = [
            bar for pair in of_arms if (bar := _relative_bar(pair, content.heldout)) is not None
        ]
        name = f"forest-{arm}-{baseline}.png"
        draw_differences(bars, f"difference, % of {NAMES[baseline]}", picture_path(name))
        caption = describe_bars(arm, baseline, f"in percent of {NAMES[baseline]}'s mean", config)
        words = about.get((arm, baseline))
        title = f"{NAMES[arm]} minus {NAMES[baseline]}"
        picture, table = Picture(name, caption), text.pair_table(of_arms, config)
        yield Section(title, (words,) if words else (), table, picture, level=3)


def _relative_bar(pair: MetricPair, heldout: HeldoutScores) -> Bar | None:
    """Return a difference in percent of the baseline's mean; None where that is 0."""
    scores = [
        score
        for score in heldout.artifacts_by_seed(pair.baseline)
        if score.record.report["seed"] in pair.seeds
    ]
    level = sum(s.record.report["means"][pair.metric.name] for s in scores) / len(scores)
    if not level:
        return None
    label = f"{pair.metric.title} {ARROWS[pair.metric.better]}".rstrip()
    return difference_bar(label, pair, pair.metric.digits, bar_factor=100.0 / abs(level))


def _item_sections(
    content: ReportContent, config: EvaluationConfig, picture_path: Callable[[str], Path]
) -> Iterator[Section]:
    """Yield of every group the scores, the differences of each arm, and ten items."""
    arm = leading_arm(content.heldout.arms)
    for group in content.groups:
        yield score_section(group)
        by_arm: dict[str, list[TaskPair]] = {}
        for pair in group.pairs:
            by_arm.setdefault(pair.arm, []).append(pair)
        for name, pairs in by_arm.items():
            bars = [
                difference_bar(
                    task_title(pair.task, pair.protocol),
                    pair,
                    2,
                    text_factor=100.0,
                    bar_factor=100.0,
                )
                for pair in pairs
            ]
            file = f"forest-{group.stage}-{name}.png"
            draw_differences(bars, "difference, points", picture_path(file))
            picture = Picture(file, describe_bars(name, BASELINE, "in points", config))
            title = f"{group.title}: {NAMES[name]} minus {NAMES[BASELINE]}"
            yield Section(title, (), pair_table(pairs, config), picture, level=3)
        title = f"{group.title}: ten items on which the two differ"
        if arm and (table := differing_items(group, arm, content.question_text)):
            yield Section(title, table=table, level=3)


def _excerpt_sections(content: ReportContent) -> Iterator[Section]:
    arm = leading_arm(content.heldout.arms)
    if arm is None or not content.excerpts:
        return
    words = (
        "These are the windows whose mean cross-entropy differs most, in either direction, and in "
        "each the run of tokens that differs most. Marked tokens differ by "
        f"{MIN_GAP:g} nats or more, mean over the seeds. Green (bold in Markdown): {NAMES[arm]} "
        "gives the token more probability than KD. Red (italic in Markdown): less."
    )
    title = f"Where {NAMES[arm]} and KD differ most"
    yield Section(title, (words,), excerpts=content.excerpts)
