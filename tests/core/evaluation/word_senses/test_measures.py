"""Measures on points one can place by hand, and against naive loops."""

import numpy as np
import pytest

from dskd_core.evaluation.comparison.ranking import weighted_auc
from dskd_core.evaluation.word_senses.items import Context, Item
from dskd_core.evaluation.word_senses.measures import (
    auc,
    best_threshold,
    by_nearest_mean,
    by_nearest_sense,
    nearest_pair_cosine,
    purity,
    v_measure,
)
from dskd_core.evaluation.word_senses.scorer import SenseScorer, means_of

SENSES = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])


def test_senses_are_named_by_the_majority_and_the_nearest_named_one_answers():
    train = np.array([[0.1, 0.0], [0.0, 0.2], [0.3, 0.0], [9.0, 0.0]])
    test = np.array([[1.0, 0.0], [8.0, 1.0], [0.0, 9.0], [9.0, 7.0]])
    # Sense 0 is a (two of three), sense 1 is b; sense 2 has no name, so 0 answers for (0, 9)
    # (9 away, where 1 is 13.5 away), and 1 for (9, 7).
    assert by_nearest_sense(train, ["a", "a", "b", "b"], test, SENSES) == ["a", "b", "a", "b"]


def test_a_tie_of_names_goes_to_the_commoner_then_to_the_alphabet():
    train = np.array([[0.0, 0.0], [0.0, 0.0], [10.0, 0.0]])
    test = np.zeros((1, 2))
    assert by_nearest_sense(train, ["z", "b", "z"], test, SENSES) == ["z"]
    assert by_nearest_sense(train[:2], ["z", "b"], test, SENSES) == ["b"]


def test_the_nearest_mean_is_of_the_train_states_of_a_label():
    train = np.array([[0.0, 0.0], [2.0, 0.0], [5.0, 0.0]])
    # Means 1 and 5: the border is at 3, though the nearest single state of 3.2 is a's.
    assert by_nearest_mean(train, ["a", "a", "b"], np.array([[2.9, 0.0], [3.2, 0.0]])) == ["a", "b"]


def test_purity_and_v_measure_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    clusters = rng.integers(0, 4, 60).tolist()
    gold = [str(label) for label in rng.integers(0, 3, 60)]
    most = 0
    for cluster in set(clusters):
        here = [g for c, g in zip(clusters, gold, strict=True) if c == cluster]
        most += max(here.count(label) for label in set(here))
    assert purity(clusters, gold) == pytest.approx(most / 60)

    def entropy(*columns):
        joint = list(zip(*columns, strict=True))
        shares = np.array([joint.count(value) / len(joint) for value in set(joint)])
        return -(shares * np.log(shares)).sum()

    information = entropy(gold) + entropy(clusters) - entropy(gold, clusters)
    homogeneity, completeness = information / entropy(gold), information / entropy(clusters)
    expected = 2 * homogeneity * completeness / (homogeneity + completeness)
    assert v_measure(clusters, gold) == pytest.approx(expected)


def test_the_threshold_is_the_best_of_all():
    rng = np.random.default_rng(1)
    similarity = rng.normal(size=50)
    same = similarity + rng.normal(size=50) > 0.3
    cut = best_threshold(similarity, same)
    right = [int(((similarity >= c) == same).sum()) for c in np.linspace(-4, 4, 2000)]
    assert int(((similarity >= cut) == same).sum()) == max(right)


def test_auc_counts_pairs_and_halves_ties():
    rng = np.random.default_rng(2)
    similarity = rng.integers(0, 5, 40).astype(float)
    is_more = rng.random(40) < 0.4
    won = [
        float(a > b) + 0.5 * float(a == b)
        for a in similarity[is_more]
        for b in similarity[~is_more]
    ]
    assert auc(similarity.tolist(), is_more.tolist()) == pytest.approx(np.mean(won))
    assert weighted_auc(similarity, is_more, np.ones((1, 40)))[0] == pytest.approx(np.mean(won))
    weights = rng.integers(0, 3, (3, 40)).astype(float)
    for line, found in zip(weights, weighted_auc(similarity, is_more, weights), strict=True):
        drawn = np.repeat(np.arange(40), line.astype(int))
        assert found == pytest.approx(auc(similarity[drawn].tolist(), is_more[drawn].tolist()))
    assert auc([1.0, 2.0], [True, True]) is None


def test_two_words_are_as_alike_as_their_nearest_senses():
    a, b = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[-1.0, 0.0], [1.0, 1.0]])
    assert nearest_pair_cosine(a, b) == pytest.approx(1 / np.sqrt(2))


def items_of(word, gold, split):
    return [
        Item(f"{split}:{word}:{n}", word, label, (Context(word, word, 0, 1),), split)
        for n, label in enumerate(gold)
    ]


def test_words_are_scored_apart_and_those_without_senses_by_their_means_alone():
    items = (
        items_of("bank", "ab", "train") + items_of("bank", "aab", "test")
        + items_of("spring", "xy", "train") + items_of("spring", "y", "test")
    )  # fmt: skip
    states = np.array(
        [[0, 0], [10, 0], [1, 0], [9, 0], [9, 1], [0, 0], [4, 4], [5, 5]], dtype=np.float32
    )
    scorer = SenseScorer(items, states, {"bank": SENSES.astype(np.float32)})
    rows = scorer.rows("in_context")
    said = {(r["measure"], r["item"]): (r["predicted"], r["score"], r["sense"]) for r in rows}
    assert said["nearest_sense", "test:bank:1"] == ("b", 0.0, 1)
    assert said["nearest_mean", "test:spring:0"] == ("y", 1.0, None)
    assert ("nearest_sense", "test:spring:0") not in said
    means = means_of(rows)
    assert means["nearest_sense"] == pytest.approx(2 / 3)
    assert means["nearest_mean"] == pytest.approx(3 / 4)
    assert means["purity"] == pytest.approx(2 / 3)  # senses 0, 1, 1 of a, a, b
    assert scorer.counts()["words_without_senses"] == 1


def test_states_that_are_not_there_are_left_out_and_counted():
    items = items_of("bank", "ab", "train") + items_of("bank", "ab", "test")
    states = np.array([[0, 0], [10, 0], [np.nan, np.nan], [9, 0]], dtype=np.float32)
    scorer = SenseScorer(items, states, {})
    assert [row["item"] for row in scorer.rows("in_context")] == ["test:bank:1"]
    assert scorer.counts()["contexts_without_a_state"] == 1


def compared(gold, word="bank", split="test"):
    contexts = (Context(word, word, 0, 1), Context(word, word, 0, 1))
    return Item(f"{split}:{gold}", word, gold, contexts, split)


def test_same_sense_and_threshold_say_true_or_false_of_two_contexts():
    items = [
        compared("T", split="train"),
        compared("F", split="train"),
        compared("T"),
        compared("F"),
    ]
    states = np.array(
        [[1, 0], [2, 0], [1, 0], [0, 1], [9, 1], [8, 0], [9, 0], [1, 9]], dtype=np.float32
    )
    rows = SenseScorer(items, states, {"bank": SENSES.astype(np.float32)}).rows("wic")
    said = {(row["measure"], row["item"]): row["predicted"] for row in rows}
    assert said["threshold", "test:T"] == "T"
    assert said["threshold", "test:F"] == "F"
    assert said["same_sense", "test:T"] == "T"  # both nearest to (10, 0)
    assert said["same_sense", "test:F"] == "F"
    assert means_of(rows) == {"threshold": 1.0, "similarity": 1.0, "same_sense": 1.0}
