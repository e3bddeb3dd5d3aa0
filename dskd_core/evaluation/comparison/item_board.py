"""Subjects compared item by item, from the tables of benchmarks and of words with known senses.

A ``benchmark-scores`` artifact has ``items.parquet`` with ``task``, ``protocol``, ``item``,
``subject`` (of MMLU) and ``score``; a ``sense-scores`` artifact one with ``measure``, ``item``,
``word``, ``gold`` and ``score``. Either way a row says how one subject did on one item, so two
subjects, of one run or of two, are compared by joining on the item.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dskd_core.config import EvaluationConfig
from dskd_core.errors import ArtifactError
from dskd_core.evaluation import word_senses
from dskd_core.evaluation.benchmarks.summary import MACRO
from dskd_core.evaluation.comparison.ranking import compare_auc, weighted_auc
from dskd_core.evaluation.comparison.score_board import ARMS
from dskd_core.evaluation.comparison.statistics import (
    MIN_CLUSTERS,
    Comparison,
    McNemar,
    compare,
    compare_macro,
    mcnemar,
    pooled,
    verdict_of,
)
from dskd_core.evaluation.word_senses.measures import MEASURES
from dskd_core.store.artifacts import Artifact

ITEMS = "items.parquet"
GROUPED = ("squad",)
"""Tasks several of whose questions are about one passage: passages are drawn, not questions."""
_MEASURES = {measure.name: measure for measure in MEASURES}
Subject = tuple[str, int | None]


@dataclass(frozen=True)
class Sheet:
    """One subject's scores on the items of one task, items ascending.

    Attributes:
        task, protocol: what was asked, and how; of tagged words the protocol is the measure.
        items: their names, unique.
        scores: [n], larger is better; of an AUC the similarity.
        strata: [n], the subject of MMLU; one for all elsewhere.
        clusters: [n], what is drawn together: the word of a tagged item, the passage of a question
            of SQuAD, else the item itself.
        is_more: [n], of an AUC: which items should be the more similar ones; else None.
        table: the rows themselves, in the same order.
    """

    task: str
    protocol: str
    items: tuple[str, ...]
    scores: NDArray[np.float64]
    strata: NDArray[np.int64]
    clusters: NDArray[np.int64]
    is_more: NDArray[np.bool_] | None
    table: pa.Table

    @property
    def name(self) -> tuple[str, str]:
        """Task and protocol."""
        return self.task, self.protocol

    @property
    def asked(self) -> list[tuple[str, str]]:
        """The items, and the fingerprints of their prompts where there are any."""
        fingerprints = [""] * len(self.items)
        if "prompt_fingerprint" in self.table.column_names:
            fingerprints = self.table["prompt_fingerprint"].to_pylist()
        return list(zip(self.items, fingerprints, strict=True))

    @cached_property
    def value(self) -> float:
        """The mean, the macro average, or the AUC."""
        if self.is_more is not None:
            return float(weighted_auc(self.scores, self.is_more, np.ones((1, len(self.items))))[0])
        means = [self.scores[self.strata == name].mean() for name in np.unique(self.strata)]
        return float(np.mean(means))


def subject_of(artifact: Artifact) -> Subject:
    """Return the arm and the seed, None for the teacher, that a student or its scores are of."""
    report = artifact.record.report
    report = report.get("model", report)
    return report["arm"], report["seed"]


def sheets_of(table: pa.Table, task: str | None = None) -> list[Sheet]:
    """Return the sheets of a table of items: of a benchmark, or of tagged words with their task.

    Args:
        table: with the columns above.
        task: of tagged words, whose table does not name it.

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
        found.append(_sheet(table.filter(is_here).sort_by("item"), **row))
    return found


def _sheet(table: pa.Table, task: str, protocol: str) -> Sheet:
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
    is_more = None
    if measure is not None and measure.kind == "auc":
        is_more = np.array([gold == measure.labels[0] for gold in table["gold"].to_pylist()])
        clusters = clusters if is_more.any() and not is_more.all() else None
    scores = table["score"].to_numpy().astype(np.float64)
    return Sheet(
        task,
        protocol,
        items,
        scores,
        _numbered(strata or [""] * len(items)),
        _numbered(clusters or items),
        is_more,
        table,
    )


def _numbered(names: Iterable[str]) -> NDArray[np.int64]:
    return np.unique(np.array(list(names)), return_inverse=True)[1].astype(np.int64)


@dataclass(frozen=True)
class PairedTask:
    """Two arms on the items of one task, over the seeds that both have.

    Attributes:
        task, protocol, arm, yardstick, seeds: what was compared.
        n_items: items that both were asked.
        arm_value, yardstick_value: mean over those seeds.
        found: difference, intervals, the smallest difference that could have been shown.
        test: McNemar's, where every score is 0 or 1; else None.
    """

    task: str
    protocol: str
    arm: str
    yardstick: str
    seeds: tuple[int, ...]
    n_items: int
    arm_value: float
    yardstick_value: float
    found: Comparison
    test: McNemar | None

    @property
    def verdict(self) -> str:
        """In words: better and worse only where both intervals leave zero out."""
        return verdict_of(self.found, len(self.seeds), "higher")


class ItemBoard:
    """All sheets of several subjects, by task and subject."""

    def __init__(self, sheets: Mapping[Subject, Sequence[Sheet]]) -> None:
        """Gather the sheets.

        Raises:
            ArtifactError: if two subjects were asked different items of a task.
        """
        self.sheets: dict[tuple[str, str], dict[Subject, Sheet]] = {}
        for subject, mine in sheets.items():
            for sheet in mine:
                self.sheets.setdefault(sheet.name, {})[subject] = sheet
        for (task, protocol), by_subject in self.sheets.items():
            first, *others = by_subject.values()
            if any(other.asked != first.asked for other in others):
                raise ArtifactError(
                    f"The subjects were asked different items of {task} ({protocol}); score all "
                    "of them with the same source and settings."
                )

    @classmethod
    def from_scores(cls, artifacts: Sequence[Artifact]) -> "ItemBoard":
        """Read the tables of ``benchmark-scores`` and ``sense-scores`` artifacts."""
        sheets: dict[Subject, list[Sheet]] = {}
        for artifact in artifacts:
            is_tagged = artifact.record.stage == word_senses.STAGE
            task = artifact.record.report["task"] if is_tagged else None
            found = sheets_of(artifact.table(ITEMS), task)
            sheets.setdefault(subject_of(artifact), []).extend(found)
        return cls(sheets)

    @property
    def arms(self) -> list[str]:
        """The arms there are, in the order of the tables."""
        present = {arm for subjects in self.sheets.values() for arm, _ in subjects}
        return [arm for arm in ARMS if arm in present]

    def seeds(self, name: tuple[str, str], arm: str) -> list[int]:
        """Return the seeds of an arm on a task, ascending; the teacher has none."""
        return sorted(s for a, s in self.sheets[name] if a == arm and s is not None)

    def values(self, name: tuple[str, str], arm: str) -> list[float]:
        """Return an arm's value on a task for each of its seeds."""
        found = self.sheets[name]
        return [found[subject].value for subject in sorted(found, key=str) if subject[0] == arm]

    def compare(
        self, name: tuple[str, str], arm: str, yardstick: str, config: EvaluationConfig
    ) -> PairedTask | None:
        """Compare two arms on a task; None where no seed has both.

        The teacher, which has no seed, stands beside every seed of the other.
        """
        found = self.sheets[name]
        seeds = set(self.seeds(name, arm))
        if (yardstick, None) not in found:
            seeds &= set(self.seeds(name, yardstick))
        pairs = [
            (found[arm, seed], found.get((yardstick, seed)) or found[yardstick, None])
            for seed in sorted(seeds)
        ]
        if not pairs:
            return None
        mine, theirs = (np.stack([pair[side].scores for pair in pairs]) for side in (0, 1))
        both = np.concatenate([mine, theirs])
        is_binary = pairs[0][0].is_more is None and bool(np.isin(both, (0.0, 1.0)).all())
        return PairedTask(
            *name,
            arm,
            yardstick,
            tuple(sorted(seeds)),
            mine.shape[1],
            float(np.mean([pair[0].value for pair in pairs])),
            float(np.mean([pair[1].value for pair in pairs])),
            _compared(pairs[0][0], mine, theirs, config),
            mcnemar(mine, theirs) if is_binary else None,
        )


def _compared(
    sheet: Sheet, arm: NDArray[np.float64], yardstick: NDArray[np.float64], config: EvaluationConfig
) -> Comparison:
    options: dict[str, Any] = config.model_dump(include={"confidence", "n_resamples"})
    if sheet.is_more is not None:
        return compare_auc(arm, yardstick, sheet.is_more, sheet.clusters, **options)
    if sheet.strata.any():
        return compare_macro(arm, yardstick, sheet.strata, **options)
    arm, yardstick = (pooled(scores, sheet.clusters) for scores in (arm, yardstick))
    counts = np.bincount(sheet.clusters).astype(np.float64)
    return compare(arm, yardstick, counts, **options)
