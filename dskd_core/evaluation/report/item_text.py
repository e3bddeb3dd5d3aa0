"""What the report says of benchmarks and of words with known senses, in words and tables."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dskd_core.config import EvaluationConfig
from dskd_core.decoder.tokenizer import load_tokenizer
from dskd_core.errors import ArtifactError
from dskd_core.evaluation.benchmarks.layout import STAGE as BENCHMARK_ITEMS
from dskd_core.evaluation.benchmarks.layout import TABLE as ITEMS
from dskd_core.evaluation.benchmarks.layout import read_requests
from dskd_core.evaluation.benchmarks.store import STAGE as BENCHMARK_SCORES
from dskd_core.evaluation.comparison.arms import BASELINE
from dskd_core.evaluation.comparison.item_scores import ItemScores, TaskPair, TaskScores
from dskd_core.evaluation.models import model_folder
from dskd_core.evaluation.report.differences import HEADERS, difference_cells
from dskd_core.evaluation.report.labels import NAMES, count, signed
from dskd_core.evaluation.report.page import Cell, Section, Table
from dskd_core.evaluation.word_senses import STAGE as SENSE_SCORES
from dskd_core.evaluation.word_senses.measures import MEASURES
from dskd_core.store.artifacts import Artifact, ArtifactStore

N_SHOWN = 10
_TITLES = {measure.name: measure.title for measure in MEASURES}
_TASKS = {
    "arc": "ARC-Challenge",
    "commonsense_qa": "CommonsenseQA",
    "mmlu": "MMLU",
    "piqa": "PIQA",
    "squad": "SQuAD v2",
}
_TEXT_CHARACTERS = 260
_PROMPT_TOKENS = 90
QuestionText = Callable[[str, str, str], str]
"""(task, protocol, item) -> the text of a question, empty where it is not known."""


@dataclass(frozen=True)
class ItemGroup:
    """The scores of one stage: of benchmarks, or of words with known senses.

    ``pairs`` are every arm against KD on every task.
    """

    stage: str
    scores: ItemScores
    pairs: tuple[TaskPair, ...]
    artifacts: tuple[Artifact, ...]

    @property
    def title(self) -> str:
        """The heading of its sections."""
        return {BENCHMARK_SCORES: "Benchmarks", SENSE_SCORES: "Words with known senses"}[self.stage]


def group_items(artifacts: Sequence[Artifact], config: EvaluationConfig) -> tuple[ItemGroup, ...]:
    """Read the artifacts of each stage and compare every arm with the baseline."""
    groups = []
    for stage in (BENCHMARK_SCORES, SENSE_SCORES):
        mine = tuple(a for a in artifacts if a.record.stage == stage)
        if not mine:
            continue
        scores = ItemScores.from_artifacts(mine)
        pairs = [
            pair
            for name in scores.by_task
            for arm in scores.arms
            if arm not in ("teacher", BASELINE) and name[1] != "static"
            if (pair := scores.compare(name, arm, BASELINE, config)) is not None
        ]
        pairs.sort(key=lambda pair: scores.arms.index(pair.arm))
        groups.append(ItemGroup(stage, scores, tuple(pairs), mine))
    return tuple(groups)


def task_title(task: str, protocol: str) -> str:
    """Name a task and how it was asked, for people.

    >>> task_title("arc", "paper"), task_title("my-words", "nearest_sense")
    ('ARC-Challenge (paper)', 'my-words: nearest sense')
    """
    if protocol in _TITLES:
        return f"{task}: {_TITLES[protocol]}"
    return f"{_TASKS.get(task, task)} ({protocol})"


def score_section(group: ItemGroup) -> Section:
    """Return the table of all scores of a stage, a column for each arm."""
    better = {(p.arm, p.task, p.protocol) for p in group.pairs if p.verdict == "better"}
    rows = []
    for name, by_model in group.scores.by_task.items():
        cells = [
            Cell(_percent(group.scores.values(name, arm)), (arm, *name) in better)
            for arm in group.scores.arms
        ]
        n_items = len(next(iter(by_model.values())).items)
        rows.append((Cell(task_title(*name)), Cell(f"{n_items:,}"), *cells))
    for task, measure, values in _clustering_values(group):
        cells = [Cell(_percent(values.get(arm, []))) for arm in group.scores.arms]
        rows.append((Cell(f"{task}: {measure}"), Cell("–"), *cells))
    caption = (
        "In percent, ± standard deviation between seeds. Accuracy; F1 for SQuAD v2; for MMLU the "
        "mean over its subjects. Bold: better than KD; both intervals below exclude zero."
        if group.stage == BENCHMARK_SCORES
        else "In percent, ± standard deviation between seeds. Nearest sense: the state's nearest "
        "sense in the dictionary, labelled by the majority of the train split. Nearest mean: the "
        "nearest mean state of the train split. AUC: how often, of an alike pair and an "
        "unlike one, the alike pair is the more similar; for the dictionary's own senses it is the "
        "same for every arm. Spearman: the rank correlation, times 100, of a pair's similarity "
        "with its rating; the best layer is each model's own, chosen on these pairs. Purity and "
        "V-measure: of the clusters that the nearest senses make, mean over words. Bold: better "
        "than KD; both intervals below exclude zero."
    )
    headers = ("", "items", *(NAMES[arm] for arm in group.scores.arms))
    return Section(group.title, _describe_data(group), Table(headers, tuple(rows), caption))


def _clustering_values(group: ItemGroup) -> list[tuple[str, str, dict[str, list[float]]]]:
    """Return purity and V-measure of every source that has them: by arm, a value a seed."""
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for artifact in group.artifacts:
        report = artifact.record.report
        for key, name in (("purity", "purity"), ("v_measure", "V-measure")):
            if group.stage == SENSE_SCORES and key in report["means"]:
                by_arm = found.setdefault((report["task"], name), {})
                by_arm.setdefault(report["arm"], []).append(report["means"][key])
    return [(task, name, values) for (task, name), values in found.items()]


def _describe_data(group: ItemGroup) -> tuple[str, ...]:
    """Say what was scored, what was left out, and what was seen in training."""
    lines = []
    for artifact in group.artifacts:
        report, counts = artifact.record.report, artifact.record.counts
        if group.stage == SENSE_SCORES and report["arm"] == "kd":
            dirty = ", ".join(f"{n} {code}" for code, n in report["dirty"].items())
            common = report["most_frequent"]
            line = (
                f"{report['task']}: {counts['items']:,} items scored and {counts['train_items']:,} "
                f"in the train split, of {count(counts['words'], 'word')}; without senses in the "
                f"dictionary: {counts['words_without_senses']:,}. States are "
                f"taken {report['state']} the token."
                + (
                    f" Always choosing the commonest sense is right for {common:.1%}."
                    if common
                    else ""
                )
                + (f" Left out: {dirty}." if dirty else "")
            )
            if line not in lines:
                lines.append(line)
    if group.stage == BENCHMARK_SCORES:
        counts = group.artifacts[0].record.counts
        trained = group.artifacts[0].record.report["trained_on"]
        lines.append(
            f"Of {counts['items']:,} items, {counts['items_in_training']:,} are questions that the "
            f"students were trained on, and {counts['passages_in_training']:,} share a passage with"
            f" one (training questions: {trained or 'none, students trained on text'})."
        )
    return tuple(lines)


def _percent(values: Sequence[float]) -> str:
    """Write the mean over seeds in percent, and its deviation between seeds."""
    if not values:
        return "–"
    text = f"{100 * float(np.mean(values)):.2f}"
    return text if len(values) < 2 else f"{text} ± {100 * float(np.std(values, ddof=1)):.2f}"


def pair_table(pairs: Sequence[TaskPair], config: EvaluationConfig) -> Table:
    """Return one arm against another on every task: difference, intervals, McNemar's test."""
    rows = []
    for pair in pairs:
        test = pair.test
        rows.append(
            (
                *difference_cells(task_title(pair.task, pair.protocol), pair, 2, factor=100.0),
                Cell(f"{test.n_better} / {test.n_worse}" if test else "–"),
                Cell(f"{test.p_value:.3g}" if test else "–"),
                Cell(pair.verdict),
            )
        )
    caption = (
        f"In points; intervals at {config.confidence:.0%}. The bootstrap draws seeds and "
        "items (if there are ten or more words, or passages of SQuAD: those; for MMLU items within "
        "a subject). t is Student's t over seeds. Right / wrong: items that this arm has right "
        "with more seeds than the other, and with fewer. McNemar's exact test compares the two "
        "counts; it covers other items, but not other seeds."
    )
    return Table((*HEADERS, "right / wrong", "McNemar p", ""), tuple(rows), caption)


def differing_items(group: ItemGroup, arm: str, question_text: QuestionText) -> Table | None:
    """Return ten items on which an arm and the baseline differ; each is the better one in turn.

    Of those that differ in most seeds, some of every task. None where no item differs.
    """
    candidates = []
    for name, by_model in group.scores.by_task.items():
        seeds = sorted(set(group.scores.seeds(name, arm)) & set(group.scores.seeds(name, BASELINE)))
        if not seeds or not next(iter(by_model.values())).is_a_mean:
            continue
        mine, theirs = ([by_model[a, seed] for seed in seeds] for a in (arm, BASELINE))
        gaps = np.mean([m.scores - t.scores for m, t in zip(mine, theirs, strict=True)], axis=0)
        order = sorted(
            np.flatnonzero(gaps).tolist(),
            key=lambda i: (-abs(gaps[i]), _hash(mine[0].items[i])),
        )
        for sign in (1.0, -1.0):
            signs = [i for i in order if gaps[i] * sign > 0][:N_SHOWN]
            candidates.append([(mine[0], theirs[0], i, float(gaps[i])) for i in signs])
    chosen: list[tuple[TaskScores, TaskScores, int, float]] = []
    while len(chosen) < N_SHOWN and any(candidates):
        chosen += [queue.pop(0) for queue in candidates if queue]
    rows = [_item_row(*place, question_text) for place in chosen[:N_SHOWN]]
    if not rows:
        return None
    headers = ("task", "item", "gold", NAMES[BASELINE], NAMES[arm], "difference")
    caption = (
        "Items on which the two differ: one arm better, then the other, in turn. Items that differ "
        "with every seed come first. The answers are those of the first seed. Difference: of the "
        "scores, mean over the seeds, in points."
    )
    return Table(headers, tuple(tuple(map(Cell, row)) for row in rows), caption, is_words=True)


def prompt_ends(store: ArtifactStore, scores: Artifact) -> dict[tuple[str, str, str], str]:
    """Return the last words of every prompt of benchmark scores, by task, protocol and item.

    Empty where the items are not under this root.
    """
    names = [name for name in scores.record.inputs if name.startswith("items-")]
    model = scores.record.report["model"]
    found = {}
    try:
        items = [store.get(BENCHMARK_ITEMS, scores.record.inputs[name]) for name in names]
        tokenizer = load_tokenizer(model_folder(store.get(model["stage"], model["fingerprint"])))
    except ArtifactError:
        return {}
    for artifact in items:
        columns = ["task", "protocol", "item"]
        rows = artifact.table(ITEMS).select(columns).to_pylist()
        for row, requests in zip(rows, read_requests(artifact).ids, strict=True):
            end = requests[0][-_PROMPT_TOKENS:].tolist()
            found[tuple(row[c] for c in columns)] = str(
                tokenizer.hf.decode(end, skip_special_tokens=True)
            )
    return found


def _item_row(
    arm: TaskScores, baseline: TaskScores, i: int, gap: float, question_text: QuestionText
) -> tuple[str, ...]:
    row, other = (task.table.slice(i, 1).to_pylist()[0] for task in (arm, baseline))
    text = row.get("text") or question_text(arm.task, arm.protocol, arm.items[i])
    gold = row.get("gold") or ""
    return (
        task_title(arm.task, arm.protocol),
        _short(text) or arm.items[i],
        _short(gold if isinstance(gold, str) else " | ".join(gold), 60),
        _answer(other),
        _answer(row),
        signed(100 * gap, 0),
    )


def _answer(row: dict[str, Any]) -> str:
    """Return a model's answer, or its score where it chose from given answers."""
    text = row.get("predicted") or row.get("answer")
    return _short(text, 60) if text else f"score {row['score']:.2f}"


def _short(text: str, n: int = _TEXT_CHARACTERS) -> str:
    words = " ".join(text.split())
    return words if len(words) <= n else f"… {words[-n:]}"


def _hash(item: str) -> str:
    return hashlib.sha256(item.encode()).hexdigest()
