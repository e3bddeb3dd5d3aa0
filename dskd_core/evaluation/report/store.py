"""The report: teacher, KD and DSKD on the same held-out text, with intervals.

    report.html   one page, style and pictures inside it
    report.md     the same, the pictures beside it
    loss.png      cross-entropy and the hinge's active share of every student, by step
    forest-*.png  the differences of two arms and their intervals

Its record holds what the page shows as numbers: ``table`` (a row for each arm, to be printed),
``means`` and ``sd`` (the same in full), ``comparison`` (every arm minus KD), ``control`` (the
leading arm minus every other one, and each arm minus its control), ``intervals`` (all of these:
differences by seed, t-interval, smallest detectable difference), ``by_frequency`` (CE and all
comparisons by how often training showed the next token), ``other_texts`` (means and comparisons on
each), ``items`` (the same of benchmarks and of words with known senses), ``continuations`` and
``students`` (steps, seconds, bytes).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dskd_core import markdown
from dskd_core.config import EvaluationConfig
from dskd_core.decoder.tokenizer import load_tokenizer
from dskd_core.evaluation.benchmarks.store import STAGE as BENCHMARK_SCORES
from dskd_core.evaluation.comparison.arms import (
    BASELINE,
    LEADING,
    arm_and_seed,
    arm_order,
    leading_arm,
)
from dskd_core.evaluation.comparison.heldout_scores import HeldoutScores, MetricPair
from dskd_core.evaluation.continuations import STAGE as CONTINUATIONS
from dskd_core.evaluation.continuations import read_rows
from dskd_core.evaluation.heldout.frequency import FREQUENCY_METRICS
from dskd_core.evaluation.heldout.store import OTHER
from dskd_core.evaluation.report.breakdown import OtherText
from dskd_core.evaluation.report.controls import Control, find_controls
from dskd_core.evaluation.report.differing_text import differing_windows
from dskd_core.evaluation.report.figures import Curve
from dskd_core.evaluation.report.item_text import QuestionText, group_items, prompt_ends
from dskd_core.evaluation.report.labels import NAMES
from dskd_core.evaluation.report.numbers import report_numbers
from dskd_core.evaluation.report.page import Excerpt, to_html, to_markdown
from dskd_core.evaluation.report.sections import ReportContent, build_page
from dskd_core.evaluation.word_senses import STAGE as SENSE_SCORES
from dskd_core.progress import Progress, silent
from dskd_core.store.artifacts import Artifact, ArtifactStore, Work
from dskd_core.training.loop.loop import HISTORY
from dskd_core.training.student.shape import MODEL
from dskd_core.training.student.shape import STAGE as UNTRAINED


def build_report(
    store: ArtifactStore,
    config: EvaluationConfig,
    scores: list[Artifact],
    students: list[Artifact],
    *,
    beside: Sequence[Artifact] = (),
    progress: Progress = silent,
) -> Artifact:
    """Compare the arms and write it down for people.

    ``beside`` are ``benchmark-scores``, ``sense-scores``, ``other-scores`` and ``continuations`` of
    the same models, if any.

    Raises:
        ArtifactError: if KD is missing, two scores are of one model, or the windows differ.
    """
    heldout = HeldoutScores(sorted(scores, key=_model_name))
    students = sorted(students, key=_table_position)
    work = Work(
        "report",
        config.model_dump(mode="json", include={"confidence", "n_resamples"}),
        {
            f"{artifact.record.stage} {_model_name(artifact)}": artifact.fingerprint
            for artifact in (*heldout.artifacts.values(), *students)
        }
        | {_input_name(a): a.fingerprint for a in beside},
        version=6,
    )
    if found := store.find(work):
        return found
    with store.publish(work) as draft:
        content = _gather(store, config, heldout, students, beside, progress)
        page = build_page(content, work, config, draft.path)
        draft.path("report.md").write_text(to_markdown(page), "utf-8")
        draft.path("report.html").write_text(to_html(page, draft.folder), "utf-8")
        any_score = heldout.artifacts_by_seed(BASELINE)[0].record.counts
        draft.counts |= {key: any_score[key] for key in ("windows", "documents", "positions")}
        draft.counts |= {"students": len(students), "arms": len(heldout.arms)}
        draft.report |= report_numbers(content)
    return store.get(work.stage, work.fingerprint)


def _gather(
    store: ArtifactStore,
    config: EvaluationConfig,
    heldout: HeldoutScores,
    students: list[Artifact],
    beside: Sequence[Artifact],
    progress: Progress,
) -> ReportContent:
    """Compare the arms in everything that was scored, and read what is shown beside."""
    controls = find_controls(store, students)
    pairs, control, by_frequency = _compare(heldout, controls, config, progress)
    items = [a for a in beside if a.record.stage in (BENCHMARK_SCORES, SENSE_SCORES)]
    return ReportContent(
        heldout=heldout,
        pairs=pairs,
        control=control,
        controls=controls,
        by_frequency=by_frequency,
        other_texts=_other_texts(beside, controls, config),
        groups=group_items(items, config),
        excerpts=_differing_excerpts(store, heldout),
        question_text=_question_text(store, items),
        continuations=[
            row for a in beside if a.record.stage == CONTINUATIONS for row in read_rows(a)
        ],
        curves=[_read_curve(student) for student in students],
        students=students,
    )


def costs_as_markdown(report: Artifact) -> str:
    """Return what every student cost, as a section of Markdown.

    Seconds are of the run and not of the content: a run that was killed and went on makes the
    same page, byte for byte, in another time. So they stand in the record, and are shown from it.
    """
    headers = ("student", "steps", "seconds", "checkpoint", "peak memory")
    rows = map(_cost_row, report.record.report["students"])
    return "\n" + markdown.join(
        [markdown.heading("Time and memory"), markdown.table(headers, rows)]
    )


def _cost_row(cost: dict[str, Any]) -> tuple[str, ...]:
    peak = f"{cost['peak_bytes'] / 1e6:,.0f} MB" if cost.get("peak_bytes") else "–"
    return (
        f"{NAMES[cost['arm']]}, seed {cost['seed']}",
        f"{cost['steps']:,}",
        f"{cost['seconds']:,.1f}",
        f"{cost['bytes'] / 1e6:,.1f} MB",
        peak,
    )


def _compare(
    heldout: HeldoutScores,
    controls: Sequence[Control],
    config: EvaluationConfig,
    progress: Progress,
) -> tuple[list[MetricPair], list[MetricPair], list[MetricPair]]:
    """Compare all arms with KD, the leading one with all others, and each with its control.

    The third list has all these comparisons by frequency.
    """
    arms = [arm for arm in heldout.arms if arm not in ("teacher", BASELINE)]
    pairs: list[MetricPair] = []
    by_frequency: list[MetricPair] = []
    for done, arm in enumerate(arms):
        pairs += heldout.compare(arm, BASELINE, config)
        by_frequency += heldout.compare(arm, BASELINE, config, FREQUENCY_METRICS)
        progress(done + 1, len(arms), "arms")
    leading = leading_arm(arms)
    others = [(leading, arm) for arm in arms if leading in LEADING and arm != leading]
    others += [(c.arm, c.baseline) for c in controls if {c.arm, c.baseline} <= set(arms)]
    control: list[MetricPair] = []
    for arm, baseline in dict.fromkeys(others):
        control += heldout.compare(arm, baseline, config)
        by_frequency += heldout.compare(arm, baseline, config, FREQUENCY_METRICS)
    return pairs, control, by_frequency


def _other_texts(
    beside: Sequence[Artifact], controls: Sequence[Control], config: EvaluationConfig
) -> list[OtherText]:
    """Compare on every other text, by name, as on held-out text."""
    found: dict[str, list[Artifact]] = {}
    for scores in sorted((a for a in beside if a.record.stage == OTHER), key=_model_name):
        found.setdefault(scores.record.report["text"], []).append(scores)
    texts = []
    for name in sorted(found):
        heldout = HeldoutScores(found[name])
        texts.append(OtherText(name, heldout, *_compare(heldout, controls, config, silent)[:2]))
    return texts


def _differing_excerpts(store: ArtifactStore, heldout: HeldoutScores) -> tuple[Excerpt, ...]:
    """Return the held-out text on which an arm and KD differ most."""
    arm = leading_arm(heldout.arms)
    seeds = sorted(set(heldout.seeds(arm or "")) & set(heldout.seeds(BASELINE)))
    if arm is None or not seeds:
        return ()
    scores = [[heldout.artifacts[name, seed] for seed in seeds] for name in (arm, BASELINE)]
    untrained = scores[0][0].record.inputs.get(UNTRAINED)
    if untrained is None:  # scores that were not made by score_student
        return ()
    tokenizer = load_tokenizer(store.get(UNTRAINED, untrained).folder() / MODEL)
    return differing_windows(scores[0], scores[1], (NAMES[arm], NAMES[BASELINE]), tokenizer)


def _question_text(store: ArtifactStore, items: Sequence[Artifact]) -> QuestionText:
    """Return how to look up the end of a benchmark question's prompt."""
    texts: dict[tuple[str, str, str], str] = {}
    for artifact in [a for a in items if a.record.stage == BENCHMARK_SCORES][:1]:
        texts = prompt_ends(store, artifact)
    return lambda *question: texts.get(question, "")


def _input_name(artifact: Artifact) -> str:
    """Return what a report calls an input: its stage first, then whose it is, and on what."""
    stage, report = artifact.record.stage, artifact.record.report
    if stage == CONTINUATIONS:
        return stage
    about = [report[name] for name in ("task", "text") if name in report]
    return " ".join([stage, *about, _model_name(artifact)])


def _model_name(artifact: Artifact) -> str:
    arm, seed = arm_and_seed(artifact)
    return arm if seed is None else f"{arm} {seed}"


def _table_position(student: Artifact) -> tuple[tuple[int, str], int]:
    report = student.record.report
    return arm_order(report["arm"]), report["seed"]


def _read_curve(student: Artifact) -> Curve:
    table = student.table(HISTORY)
    history = {name: table[name].to_numpy().astype(np.float64) for name in table.column_names}
    return Curve(student.record.report["arm"], student.record.report["seed"], history)
