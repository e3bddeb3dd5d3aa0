"""Pairs that people rated for similarity: how well the states of every layer order them.

A layer's similarity of a pair is the cosine of the states *at* both words in a neutral context,
less the mean state of that layer; it is held against the ratings by Spearman's rank correlation.
Layer 0 is the embedding, the last one is after the final norm. The best layer is chosen on the same
pairs, for every model alike, so it is a little too good; it shows where a model keeps what words
mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from dskd_core.decoder.tokenizer import Tokenizer
from dskd_core.dictionary.store import Dictionary
from dskd_core.evaluation.word_senses.items import Item, row_of
from dskd_core.evaluation.word_senses.measures import cosines
from dskd_core.words.spelling import spell

FloatArray = NDArray[np.floating]


@dataclass(frozen=True)
class GradedScorer:
    """Rated pairs, with the states of their words in every layer.

    Attributes:
        items: pairs; ``gold`` is the rating.
        states: [n_layers + 1, n_contexts, d], in the order of the items' contexts; NaN where there
            is none.
        antonyms: [n_items], pairs that the lexicon, or the file itself, has as antonyms.
    """

    items: Sequence[Item]
    states: FloatArray
    antonyms: NDArray[np.bool_]

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of ``items.parquet``: similarities in the best layer and in the last."""
        layers = {"graded_best": self.best_layer, "graded_last": len(self.states) - 1}
        found = self.similarities()
        return [
            row_of(item, measure) | {"score": float(found[layer, number])}
            for measure, layer in layers.items()
            for number, item in enumerate(self.items)
            if not np.isnan(found[layer, number])
        ]

    def similarities(self) -> FloatArray:
        """Return the similarity of each pair in each layer, [n_layers + 1, n_items]."""
        centred = self.states - np.nanmean(self.states, axis=1, keepdims=True)
        return np.stack([cosines(layer[0::2], layer[1::2]) for layer in centred])

    def correlations(self) -> list[float]:
        """Return Spearman's correlation of every layer with the ratings; 0 where all are equal."""
        ratings = np.array([float(item.gold) for item in self.items])
        return [spearman(layer, ratings) for layer in self.similarities()]

    @property
    def best_layer(self) -> int:
        """The layer of the largest correlation, the first of equals."""
        return int(np.argmax(self.correlations()))

    def report(self) -> dict[str, Any]:
        """Return what the record says of the layers, and of antonyms among the pairs.

        ``antonym_ranks``: the mean rank of antonyms among all pairs, from 0, the least similar, to
        1, the most, in each layer; for people's ratings ``antonym_rank_of_people``.
        """
        found: dict[str, Any] = {
            "best_layer": self.best_layer,
            "spearman_by_layer": [round(value, 6) for value in self.correlations()],
            "antonym_pairs": int(self.antonyms.sum()),
        }
        if self.antonyms.any():
            ratings = np.array([float(item.gold) for item in self.items])
            ranks = [mean_rank(layer, self.antonyms) for layer in self.similarities()]
            found["antonym_ranks"] = [round(rank, 6) for rank in ranks]
            found["antonym_rank_of_people"] = round(mean_rank(ratings, self.antonyms), 6)
        return found


def spearman(values: FloatArray, ratings: FloatArray) -> float:
    """Return Spearman's rank correlation where both are known; 0 where either does not vary.

    >>> spearman(np.array([0.1, 0.3, 0.2, np.nan]), np.array([1.0, 3.0, 2.0, 9.0]))
    1.0
    """
    there = ~np.isnan(values)
    a, b = values[there], ratings[there]
    if len(a) < 2 or np.ptp(a) == 0.0 or np.ptp(b) == 0.0:
        return 0.0
    return float(stats.spearmanr(a, b).statistic)


def mean_rank(values: FloatArray, chosen: NDArray[np.bool_]) -> float:
    """Return the mean rank of chosen items, 0 for the least of all and 1 for the most; ties share.

    >>> mean_rank(np.array([5.0, 1.0, 3.0]), np.array([True, False, True]))
    0.75
    """
    there = ~np.isnan(values)
    ranks = stats.rankdata(values[there]) - 1.0
    picked = ranks[chosen[there]]
    return float(picked.mean() / max(1, there.sum() - 1)) if len(picked) else 0.5


def antonyms_among(
    items: Sequence[Item], tokenizer: Tokenizer, dictionary: Dictionary
) -> NDArray[np.bool_]:
    """Return which pairs are antonyms: their file says so, or the dictionary does.

    Of the dictionary only words of one token are known.
    """
    words = sorted({context.word for item in items for context in item.contexts})
    spelled = spell(tokenizer, words)
    token = {w: ids[0] for w, (_, ids) in zip(words, spelled, strict=True) if ids and len(ids) == 1}

    def has(a: str, b: str) -> bool:
        if a not in token or b not in token:
            return False
        own = dictionary.own.rows_of(token[b])
        return bool(np.isin(dictionary.antonyms.rows_of(token[a]), own).any())

    pairs = [tuple(context.word for context in item.contexts) for item in items]
    said = [item.relation == "antonym" for item in items]
    return np.array([s or has(a, b) or has(b, a) for s, (a, b) in zip(said, pairs, strict=True)])
