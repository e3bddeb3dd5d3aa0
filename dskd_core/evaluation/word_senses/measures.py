"""How well states tell senses apart. Arrays in, numbers out; L2 throughout, as in Eq. 2 and 4."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]


@dataclass(frozen=True)
class Measure:
    """What a row of the table of items says.

    Attributes:
        name: in records and tables.
        title: for people.
        kind: ``accuracy`` where ``score`` is 1 for right and 0 for wrong; ``auc`` where it is a
            similarity, larger for the first of ``labels``; ``spearman`` where it is a similarity
            that is held against ``gold``, a rating.
        labels: of an ``auc``: more similar, less similar.
    """

    name: str
    title: str
    kind: Literal["accuracy", "auc", "spearman"] = "accuracy"
    labels: tuple[str, str] = ("", "")


MEASURES = (
    Measure("nearest_sense", "nearest sense"),
    Measure("nearest_mean", "nearest mean of the model's own states"),
    Measure("same_sense", "same nearest sense"),
    Measure("threshold", "cosine beyond a threshold"),
    Measure("similarity", "cosine, AUC", "auc", ("T", "F")),
    Measure("states", "synonyms against antonyms, states, AUC", "auc", ("synonym", "antonym")),
    Measure("static", "synonyms against antonyms, senses, AUC", "auc", ("synonym", "antonym")),
    Measure("graded_best", "similarity as people rate it, best layer, Spearman", "spearman"),
    Measure("graded_last", "similarity as people rate it, last layer, Spearman", "spearman"),
)
"""``static`` depends on the dictionary alone, so it is the same for every model."""


def nearest(states: FloatArray, rows: FloatArray) -> NDArray[np.int64]:
    """Return the row nearest to each state (L2), [n]; the first of equals.

    >>> nearest(np.array([[0.0, 1.0], [5.0, 5.0]]), np.array([[0.0, 0.0], [4.0, 6.0]])).tolist()
    [0, 1]
    """
    x, r = states.astype(np.float64), rows.astype(np.float64)
    squared = (r**2).sum(axis=1) - 2.0 * x @ r.T
    return np.asarray(squared.argmin(axis=1), dtype=np.int64)


def labelled_rows(nearest_rows: NDArray[np.int64], gold: Sequence[str]) -> dict[int, str]:
    """Return the commonest label of every row that is anyone's nearest.

    A tie goes to the label that is commoner over all rows, then to the first in the alphabet.

    >>> labelled_rows(np.array([2, 2, 2, 0, 0]), ["a", "b", "b", "a", "b"])
    {0: 'b', 2: 'b'}
    """
    labels = np.asarray(gold)
    overall = {name: int((labels == name).sum()) for name in sorted(set(gold))}
    found = {}
    for row in np.unique(nearest_rows):
        here = labels[nearest_rows == row]
        found[int(row)] = min(overall, key=lambda n: (-int((here == n).sum()), -overall[n], n))
    return found


def by_nearest_sense(
    train: FloatArray, gold: Sequence[str], test: FloatArray, senses: FloatArray
) -> list[str]:
    """Return the label of the nearest sense, senses being labelled by the train split's majority.

    A sense that is nearest to no state of the train split has no label and takes no part.

    Args:
        train: [n, d], states with labels.
        gold: their labels.
        test: [m, d].
        senses: [k, d], the dictionary's senses of the word.
    """
    names = labelled_rows(nearest(train, senses), gold)
    kept = np.array(sorted(names))
    return [names[int(kept[i])] for i in nearest(test, senses[kept])]


def by_nearest_mean(train: FloatArray, gold: Sequence[str], test: FloatArray) -> list[str]:
    """Return the label whose mean of train states is nearest: no dictionary is needed."""
    names, labels = sorted(set(gold)), np.asarray(gold)
    means = np.stack([train[labels == name].mean(axis=0) for name in names])
    return [names[i] for i in nearest(test, means)]


def purity(clusters: Sequence[int], gold: Sequence[str]) -> float:
    """Return the share of items that have the commonest label of their cluster.

    >>> purity([0, 0, 0, 1], ["a", "a", "b", "b"])
    0.75
    """
    from sklearn.metrics.cluster import contingency_matrix

    return float(contingency_matrix(gold, clusters).max(axis=0).sum() / len(gold))


def v_measure(clusters: Sequence[int], gold: Sequence[str]) -> float:
    """Return the harmonic mean of homogeneity and completeness (scikit-learn's)."""
    from sklearn.metrics import v_measure_score

    return float(v_measure_score(gold, clusters))


def cosines(a: FloatArray, b: FloatArray) -> NDArray[np.float64]:
    """Return the cosine of each row of ``a`` with the same row of ``b``, [n]; 0 for a zero row."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(axis=1) / np.where(lengths > 0.0, lengths, 1.0))


def nearest_pair_cosine(a: FloatArray, b: FloatArray) -> float:
    """Return the largest cosine between a sense of one word and a sense of the other."""
    left = np.repeat(a, len(b), axis=0)
    right = np.tile(b, (len(a), 1))
    return float(cosines(left, right).max())


def best_threshold(similarity: NDArray[np.float64], same: NDArray[np.bool_]) -> float:
    """Return the threshold of most right answers, ``same`` being said from it upwards.

    The middle between two neighbouring values; the lowest of equally good ones.

    >>> best_threshold(np.array([0.1, 0.4, 0.6, 0.9]), np.array([False, False, True, True]))
    0.5
    """
    values = np.unique(similarity)
    between = (values[:-1] + values[1:]) / 2.0
    cuts = np.concatenate(([values[0] - 1e-9], between, [values[-1] + 1e-9]))
    right = [int(((similarity >= cut) == same).sum()) for cut in cuts]
    return float(cuts[int(np.argmax(right))])


def auc(similarity: Sequence[float], is_more: Sequence[bool]) -> float | None:
    """Return the probability that a more-labelled item is the more similar one (ties half).

    None where one of the two labels is absent.
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(is_more, similarity)) if len(set(is_more)) == 2 else None
