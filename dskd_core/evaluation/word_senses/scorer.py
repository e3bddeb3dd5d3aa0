"""Items with the states of their words, turned into rows: who was right, and how similar."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dskd_core.evaluation.word_senses.graded import spearman
from dskd_core.evaluation.word_senses.items import Item, row_of
from dskd_core.evaluation.word_senses.measures import (
    MEASURES,
    auc,
    best_threshold,
    by_nearest_mean,
    by_nearest_sense,
    cosines,
    nearest,
    nearest_pair_cosine,
    purity,
    v_measure,
)

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class SenseScorer:
    """Items with the states of their words.

    Attributes:
        items: of both splits.
        states: [n_contexts, d], in the order of the items' contexts; NaN where there is none.
        senses: the dictionary's, by word.
    """

    items: Sequence[Item]
    states: FloatArray
    senses: dict[str, FloatArray]

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """Return the rows of ``items.parquet``."""
        if kind in {"wic", "wordnet_wic"}:
            return self._same_or_not()
        return self._related() if kind == "pairs" else self._senses()

    def counts(self) -> dict[str, int]:
        """Return what a person asks for first."""
        words = {context.word for item in self.items for context in item.contexts}
        return {
            "items": sum(item.split == "test" for item in self.items),
            "train_items": sum(item.split == "train" for item in self.items),
            "words": len(words),
            "words_without_senses": len(words - set(self.senses)),
            "contexts_without_a_state": int(np.isnan(self.states[:, 0]).sum()),
        }

    def most_frequent(self) -> float | None:
        """Return the share of scored items that have their word's commonest train label."""
        words = self._by_word() if len(self.items[0].contexts) == 1 else {}
        hits = [
            item.gold == max(sorted(train_gold), key=train_gold.count)
            for train, test in words.values()
            if (train_gold := [self.items[i].gold for i in train])
            for item in (self.items[i] for i in test)
        ]
        return float(np.mean(hits)) if hits else None

    def _by_word(self) -> dict[str, tuple[list[int], list[int]]]:
        """Return the train and the scored items of every word, those that have a state."""
        found: dict[str, tuple[list[int], list[int]]] = {}
        for number, item in enumerate(self.items):
            if not np.isnan(self.states[number, 0]):
                found.setdefault(item.word, ([], []))[item.split == "test"].append(number)
        return found

    def _senses(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for word, (train, test) in sorted(self._by_word().items()):
            if not train or not test:
                continue
            known, asked = self.states[train], self.states[test]
            gold = [self.items[i].gold for i in train]
            means = by_nearest_mean(known, gold, asked)
            rows += [
                _right(self.items[i], "nearest_mean", name)
                for i, name in zip(test, means, strict=True)
            ]
            if word in self.senses:
                senses = self.senses[word]
                named = by_nearest_sense(known, gold, asked, senses)
                rows += [
                    _right(self.items[i], "nearest_sense", name) | {"sense": int(sense)}
                    for i, name, sense in zip(test, named, nearest(asked, senses), strict=True)
                ]
        return rows

    def _same_or_not(self) -> list[dict[str, Any]]:
        left, right = self.states[0::2], self.states[1::2]
        whole = ~np.isnan(left[:, 0] + right[:, 0])
        similarity = cosines(np.nan_to_num(left), np.nan_to_num(right))
        is_train = np.array([item.split == "train" for item in self.items])
        is_same = np.array([item.gold == "T" for item in self.items])
        train = whole & is_train
        threshold = best_threshold(similarity[train], is_same[train]) if train.any() else None
        rows: list[dict[str, Any]] = []
        for i in np.flatnonzero(whole & ~is_train).tolist():
            item, value = self.items[i], float(similarity[i])
            rows.append(_similar(item, "similarity", value))
            if threshold is not None:
                rows.append(_right(item, "threshold", "T" if value >= threshold else "F"))
            if item.word in self.senses:
                a, b = nearest(np.stack([left[i], right[i]]), self.senses[item.word])
                rows.append(_right(item, "same_sense", "T" if a == b else "F"))
        return rows

    def _related(self) -> list[dict[str, Any]]:
        # States of neutral contexts share most of what they are; what is left tells words apart.
        centred = self.states - np.nanmean(self.states, axis=0)
        similarity = cosines(centred[0::2], centred[1::2])
        rows: list[dict[str, Any]] = []
        for item, value in zip(self.items, similarity, strict=True):
            if not np.isnan(value):
                rows.append(_similar(item, "states", float(value)))
            a, b = (self.senses.get(context.word) for context in item.contexts)
            if a is not None and b is not None:
                rows.append(_similar(item, "static", nearest_pair_cosine(a, b)))
        return rows


def means_of(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the mean of every accuracy, every AUC, and purity and V-measure.

    The last two are of the clusters that the nearest senses make of a word's scored items,
    averaged over the words with two senses or more among them.
    """
    found: dict[str, float] = {}
    for measure in MEASURES:
        mine = [row for row in rows if row["measure"] == measure.name]
        scores = [row["score"] for row in mine]
        if measure.kind == "accuracy" and mine:
            found[measure.name] = float(np.mean(scores))
        elif measure.kind == "spearman" and mine:
            ratings = np.array([float(row["gold"]) for row in mine])
            found[measure.name] = spearman(np.array(scores), ratings)
        elif mine:
            value = auc(scores, [row["gold"] == measure.labels[0] for row in mine])
            found |= {} if value is None else {measure.name: value}
    words: dict[str, tuple[list[int], list[str]]] = {}
    for row in rows:
        if row["measure"] == "nearest_sense":
            clusters, gold = words.setdefault(row["word"], ([], []))
            clusters.append(row["sense"])
            gold.append(row["gold"])
    several = [word for word in words.values() if len(set(word[1])) > 1]
    if several:
        found["purity"] = float(np.mean([purity(*word) for word in several]))
        found["v_measure"] = float(np.mean([v_measure(*word) for word in several]))
    return found


def _right(item: Item, measure: str, predicted: str) -> dict[str, Any]:
    score = float(predicted == item.gold)
    return row_of(item, measure) | {"predicted": predicted, "score": score}


def _similar(item: Item, measure: str, value: float) -> dict[str, Any]:
    return row_of(item, measure) | {"score": value}


def counted_of(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Return the number of rows of every measure."""
    names = [row["measure"] for row in rows]
    return {m.name: names.count(m.name) for m in MEASURES if m.name in names}
