"""Arms compared item by item, from the tables of benchmarks and of words with known senses.

A ``benchmark-scores`` artifact has ``items.parquet`` with ``task``, ``protocol``, ``item``,
``subject`` (of MMLU) and ``score``; a ``sense-scores`` artifact one with ``measure``, ``item``,
``word``, ``gold`` and ``score``. Either way a row says how one model did on one item, so two
models, of one run or of two, are compared by joining on the item.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dskd_core.config import EvaluationConfig
from dskd_core.errors import ArtifactError
from dskd_core.evaluation import word_senses
from dskd_core.evaluation.benchmarks.summary import MACRO
from dskd_core.evaluation.comparison.arms import (
    ArmPair,
    ArmSeed,
    arm_and_seed,
    sort_arms,
    sort_seeds,
)
from dskd_core.evaluation.comparison.ranking import compare_auc, compare_spearman, weighted_auc
from dskd_core.evaluation.comparison.statistics import (
    MIN_CLUSTERS,
    Comparison,
    McNemar,
    Resampling,
    compare,
    compare_macro,
    mcnemar,
    sum_by_cluster,
)
from dskd_core.evaluation.word_senses.graded import spearman
from dskd_core.evaluation.word_senses.measures import MEASURES
from dskd_core.store.artifacts import Artifact

ITEMS = "items.parquet"
GROUPED = ("squad",)
"""Tasks several of whose questions are about one passage: passages are drawn, not questions."""
_MEASURES = {measure.name: measure for measure in MEASURES}


@dataclass(frozen=True)
class TaskScores:
    """One model's scores on the items of one task, items ascending.

    Attributes:
        task, protocol: what was asked, and how; of tagged words the protocol is the measure.
        items: their names, unique.
        scores: [n], larger is better; of an AUC the similarity.
        strata: [n], the subject of MMLU; one for all elsewhere.
        clusters: [n], what is drawn together: the word of a tagged item, the passage of a question
            of SQuAD, else the item itself.
        is_more: [n], of an AUC: which items should be the more similar ones; else None.
        ratings: [n], of a correlation: what the similarities are held against; else None.
        table: the rows themselves, in the same order.
    """

    task: str
    protocol: str
    items: tuple[str, ...]
    scores: NDArray[np.float64]
    strata: NDArray[np.int64]
    clusters: NDArray[np.int64]
    is_more: NDArray[np.bool_] | None
    ratings: NDArray[np.float64] | None
    table: pa.Table

    @property
    def name(self) -> tuple[str, str]:
        """Task and protocol."""
        return self.task, self.protocol

    @property
    def items_and_prompts(self) -> list[tuple[str, str]]:
        """The items, and the fingerprints of their prompts where there are any."""
        fingerprints = [""] * len(self.items)
        if "prompt_fingerprint" in self.table.column_names:
            fingerprints = self.table["prompt_fingerprint"].to_pylist()
        return list(zip(self.items, fingerprints, strict=True))

    @property
    def is_a_mean(self) -> bool:
        """Whether the value is a mean over items."""
        return self.is_more is None and self.ratings is None

    @cached_property
    def value(self) -> float:
        """The mean, the macro average, the AUC, or Spearman's correlation."""
        if self.ratings is not None:
            return spearman(self.scores, self.ratings)
        if self.is_more is not None:
            return float(weighted_auc(self.scores, self.is_more, np.ones((1, len(self.items))))[0])
        means = [self.scores[self.strata == name].mean() for name in np.unique(self.strata)]
        return float(np.mean(means))


def split_by_task(table: pa.Table, task: str | None = None) -> list[TaskScores]:
    """Return the scores of each task and protocol in a table of items.

    ``task`` is that of tagged words, whose table does not name it.

    Raises:
        ArtifactError: if an item comes twice.
    """
    if task is not None:
        table = table.append_column("task", pa.array([task] * len(table), pa.string()))
        table = table.rename_columns({"measure": "protocol"})
    names = table.select(["task", "protocol"]).group_by(["task", "protocol"]).aggregate([])
    found = []
    for row in names.sort_by([("task", "ascending"), ("protocol", "ascending")]).to_pylist():
        is_here = pc.and_(
            pc.equal(table["task"], row["task"]), pc.equal(table["protocol"], row["protocol"])
        )
        found.append(_task_scores(table.filter(is_here).sort_by("item"), **row))
    return found


def _task_scores(table: pa.Table, task: str, protocol: str) -> TaskScores:
    items = tuple(table["item"].to_pylist())
    if len(set(items)) < len(items):
        twice = next(a for a, b in itertools.pairwise(items) if a == b)
        raise ArtifactError(
            f"The item {twice!r} of {task} ({protocol}) comes twice; give items unique names."
        )
    strata = clusters = None
    if task in MACRO and "subject" in table.column_names:
        strata = table["subject"].to_pylist()
    for column in ("word", "group"):
        if column in table.column_names and (column == "word" or task in GROUPED):
            clusters = table[column].to_pylist()
            clusters = clusters if len(set(clusters)) >= MIN_CLUSTERS else None
    measure = _MEASURES.get(protocol) if "gold" in table.column_names else None
    is_more = ratings = None
    if measure is not None and measure.kind == "spearman":
        ratings, clusters = np.array([float(gold) for gold in table["gold"].to_pylist()]), None
    if measure is not None and measure.kind == "auc":
        is_more = np.array([gold == measure.labels[0] for gold in table["gold"].to_pylist()])
        clusters = clusters if is_more.any() and not is_more.all() else None
    scores = table["score"].to_numpy().astype(np.float64)
    return TaskScores(
        task,
        protocol,
        items,
        scores,
        _number(strata or [""] * len(items)),
        _number(clusters or items),
        is_more,
        ratings,
        table,
    )


def _number(names: Iterable[str]) -> NDArray[np.int64]:
    return np.unique(np.array(list(names)), return_inverse=True)[1].astype(np.int64)


@dataclass(frozen=True)
class TaskPair(ArmPair):
    """Two arms compared on the items of one task.

    Attributes:
        task, protocol: what was asked, and how.
        n_items: items that both were asked.
        arm_value, baseline_value: mean over the seeds.
        test: McNemar's, where every score is 0 or 1; else None.
    """

    task: str
    protocol: str
    n_items: int
    arm_value: float
    baseline_value: float
    test: McNemar | None


class ItemScores:
    """Scores on items, by task, arm and seed."""

    def __init__(self, scores: Mapping[ArmSeed, Sequence[TaskScores]]) -> None:
        """Gather the scores of several models.

        Raises:
            ArtifactError: if two models were asked different items of a task.
        """
        self.by_task: dict[tuple[str, str], dict[ArmSeed, TaskScores]] = {}
        for model, tasks in scores.items():
            for task in tasks:
                self.by_task.setdefault(task.name, {})[model] = task
        for (name, protocol), by_model in self.by_task.items():
            first, *others = by_model.values()
            if any(other.items_and_prompts != first.items_and_prompts for other in others):
                raise ArtifactError(
                    f"The models were asked different items of {name} ({protocol}); score all "
                    "of them with the same source and settings."
                )

    @classmethod
    def from_artifacts(cls, artifacts: Sequence[Artifact]) -> "ItemScores":
        """Read the tables of ``benchmark-scores`` and ``sense-scores`` artifacts."""
        scores: dict[ArmSeed, list[TaskScores]] = {}
        for artifact in artifacts:
            is_tagged = artifact.record.stage == word_senses.STAGE
            task = artifact.record.report["task"] if is_tagged else None
            found = split_by_task(artifact.table(ITEMS), task)
            scores.setdefault(arm_and_seed(artifact), []).extend(found)
        return cls(scores)

    @property
    def arms(self) -> list[str]:
        """The arms there are, in the order of the tables."""
        return sort_arms(itertools.chain.from_iterable(self.by_task.values()))

    def seeds(self, name: tuple[str, str], arm: str) -> list[int]:
        """Return the seeds of an arm on a task, ascending; the teacher has none."""
        return sort_seeds(self.by_task[name], arm)

    def values(self, name: tuple[str, str], arm: str) -> list[float]:
        """Return an arm's value on a task for each of its seeds."""
        found = self.by_task[name]
        return [found[model].value for model in sorted(found, key=str) if model[0] == arm]

    def compare(
        self, name: tuple[str, str], arm: str, baseline: str, config: EvaluationConfig
    ) -> TaskPair | None:
        """Compare two arms on a task; None where no seed has both.

        The teacher, which has no seed, is compared with every seed of the other.
        """
        found = self.by_task[name]
        seeds = self.seeds(name, arm)
        if (baseline, None) not in found:
            seeds = [seed for seed in seeds if (baseline, seed) in found]
        if not seeds:
            return None
        mine = [found[arm, seed] for seed in seeds]
        theirs = [found.get((baseline, seed)) or found[baseline, None] for seed in seeds]
        scores, others = (np.stack([task.scores for task in tasks]) for tasks in (mine, theirs))
        both = np.concatenate([scores, others])
        is_binary = mine[0].is_a_mean and bool(np.isin(both, (0.0, 1.0)).all())
        return TaskPair(
            arm,
            baseline,
            tuple(seeds),
            _compare(mine[0], scores, others, config),
            *name,
            n_items=scores.shape[1],
            arm_value=float(np.mean([task.value for task in mine])),
            baseline_value=float(np.mean([task.value for task in theirs])),
            test=mcnemar(scores, others) if is_binary else None,
        )


def _compare(
    task: TaskScores,
    arm: NDArray[np.float64],
    baseline: NDArray[np.float64],
    config: EvaluationConfig,
) -> Comparison:
    resampling = Resampling.from_config(config)
    if task.ratings is not None:
        return compare_spearman(arm, baseline, task.ratings, resampling)
    if task.is_more is not None:
        return compare_auc(arm, baseline, task.is_more, task.clusters, resampling)
    if task.strata.any():
        return compare_macro(arm, baseline, task.strata, resampling)
    arm, baseline = (sum_by_cluster(values, task.clusters) for values in (arm, baseline))
    counts = np.bincount(task.clusters).astype(np.float64)
    return compare(arm, baseline, counts, resampling)
