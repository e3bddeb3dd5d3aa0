"""Two arms on the same items, against bootstraps and tests made here by other means."""

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from dskd_core.config import EvaluationConfig
from dskd_core.errors import ArtifactError
from dskd_core.evaluation.comparison.item_scores import ItemScores, split_by_task
from dskd_core.evaluation.comparison.ranking import compare_auc
from dskd_core.evaluation.comparison.statistics import Resampling, compare_macro, mcnemar

CONFIG = EvaluationConfig(n_resamples=1000)


def table(scores, *, task="arc", subjects=None, groups=None):
    n = len(scores)
    return pa.table(
        {
            "task": [task] * n,
            "protocol": ["paper"] * n,
            "item": [f"{task}/{i:03d}" for i in range(n)],
            "subject": subjects or [""] * n,
            "group": groups or [""] * n,
            "score": np.asarray(scores, dtype=float),
        }
    )


def board(scores, **columns):
    """Scores by (arm, seed)."""
    return ItemScores({who: split_by_task(table(s, **columns)) for who, s in scores.items()})


def test_a_macro_average_weighs_subjects_alike_and_an_average_items():
    scores = [1.0] * 9 + [0.0]
    subjects = ["law"] * 9 + ["art"]
    (macro,) = split_by_task(table(scores, task="mmlu", subjects=subjects))
    assert macro.value == pytest.approx(0.5)  # (1 + 0) / 2
    (plain,) = split_by_task(table(scores, subjects=subjects))
    assert plain.value == pytest.approx(0.9)


def test_the_order_of_rows_changes_nothing():
    rng = np.random.default_rng(0)
    kd, dskd = (rng.integers(0, 2, 40).astype(float) for _ in range(2))
    turned = table(dskd).take(rng.permutation(40))
    one = board({("kd", 0): kd, ("paper", 0): dskd})
    two = ItemScores({("kd", 0): split_by_task(table(kd)), ("paper", 0): split_by_task(turned)})
    name = ("arc", "paper")
    assert one.compare(name, "paper", "kd", CONFIG) == two.compare(name, "paper", "kd", CONFIG)


def test_the_interval_of_one_seed_is_scipys_paired_bootstrap_over_items():
    rng = np.random.default_rng(1)
    kd = rng.integers(0, 2, 200).astype(float)
    dskd = np.where(rng.random(200) < 0.2, 1.0, kd)
    found = board({("kd", 0): kd, ("paper", 0): dskd}).compare(
        ("arc", "paper"), "paper", "kd", EvaluationConfig(n_resamples=20_000)
    )
    theirs = stats.bootstrap(
        (dskd - kd,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(2)
    ).confidence_interval
    assert found.comparison.difference == pytest.approx(dskd.mean() - kd.mean())
    assert found.comparison.low == pytest.approx(theirs.low, abs=0.006)
    assert found.comparison.high == pytest.approx(theirs.high, abs=0.006)
    assert found.verdict == "one seed"


def naive_macro(gaps, strata, n, rng):
    """Draw items of every subject one by one; the same items for every drawn seed."""
    draws = []
    for _ in range(n):
        seeds = rng.integers(0, len(gaps), len(gaps))
        means = []
        for name in np.unique(strata):
            own = np.flatnonzero(strata == name)
            drawn = own[rng.integers(0, len(own), len(own))]
            means.append(gaps[seeds][:, drawn].mean())
        draws.append(np.mean(means))
    return np.quantile(draws, [0.025, 0.975])


def test_a_macro_averages_interval_is_that_of_a_bootstrap_within_subjects():
    rng = np.random.default_rng(3)
    strata = np.repeat([0, 1, 2], [60, 12, 5])
    kd = rng.integers(0, 2, (3, 77)).astype(float)
    dskd = np.where(rng.random((3, 77)) < 0.3, 1.0, kd)
    found = compare_macro(dskd, kd, strata, Resampling(n_resamples=4000))
    by_subject = [(dskd - kd)[:, strata == name].mean() for name in (0, 1, 2)]
    assert found.difference == pytest.approx(np.mean(by_subject))
    low, high = naive_macro(dskd - kd, strata, 1500, rng)
    assert found.low == pytest.approx(low, abs=0.02)
    assert found.high == pytest.approx(high, abs=0.02)
    plain = board({("kd", 0): kd[0], ("paper", 0): dskd[0]}).compare(
        ("arc", "paper"), "paper", "kd", CONFIG
    )
    assert plain.comparison.detectable < found.detectable, "five items of one subject weigh a third"


def test_questions_of_one_passage_are_drawn_together():
    rng = np.random.default_rng(4)
    gaps = np.repeat(rng.normal(size=20), 10)  # ten alike questions a passage
    groups = [f"passage {i // 10:02d}" for i in range(200)]
    kd, dskd = np.zeros(200), gaps
    widths = {}
    for task in ("squad", "arc"):
        pair = board({("kd", 0): kd, ("paper", 0): dskd}, task=task, groups=groups).compare(
            (task, "paper"), "paper", "kd", CONFIG
        )
        widths[task] = pair.comparison.high - pair.comparison.low
        assert pair.test is None, "F1 is no right or wrong"
    assert widths["squad"] == pytest.approx(widths["arc"] * np.sqrt(10), rel=0.2)


def test_mcnemar_is_the_exact_binomial_test_on_items_that_only_one_has_right():
    kd = np.array([[1, 1, 1, 0, 0, 0, 0, 0, 0, 0]], dtype=float)
    dskd = np.array([[0, 1, 1, 1, 1, 1, 1, 1, 1, 0]], dtype=float)
    found = mcnemar(dskd, kd)
    assert (found.n_better, found.n_worse) == (6, 1)
    # P(at most 1 of 7 fair coins), both sides: 2 (1 + 7) / 128
    assert found.p_value == pytest.approx(0.125)


def test_mcnemar_asks_every_item_once_whatever_the_seeds():
    kd = np.zeros((3, 6))
    dskd = np.array([[1, 1, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0], [1, 0, 1, 0, 1, 0]], dtype=float)
    found = mcnemar(dskd, kd)
    assert (found.n_better, found.n_worse) == (4, 0)
    kd[1, 1] = 1.0  # item 1 now: +1 with seed 0, -1 with seed 1
    assert mcnemar(dskd, kd).n_better == 3
    assert mcnemar(kd, kd).p_value == 1.0


def auc_by_pairs(scores, is_more):
    return (scores[is_more][:, None] > scores[~is_more][None]).mean()


def test_an_aucs_interval_is_that_of_a_bootstrap_that_forms_it_anew():
    rng = np.random.default_rng(5)
    is_more = rng.random(60) < 0.5
    kd = rng.normal(size=(1, 60)) + 0.5 * is_more
    dskd = kd + rng.normal(size=(1, 60)) * 0.5 + 0.6 * is_more
    found = compare_auc(dskd, kd, is_more, np.arange(60), Resampling(n_resamples=3000))
    expected = auc_by_pairs(dskd[0], is_more) - auc_by_pairs(kd[0], is_more)
    assert found.difference == pytest.approx(expected)
    draws = []
    for _ in range(1500):
        drawn = rng.integers(0, 60, 60)
        auc = [auc_by_pairs(s[0, drawn], is_more[drawn]) for s in (dskd, kd)]
        draws.append(auc[0] - auc[1])
    low, high = np.quantile(draws, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.03)
    assert found.high == pytest.approx(high, abs=0.03)


def test_better_needs_both_intervals_and_the_teacher_stands_beside_every_seed():
    rng = np.random.default_rng(6)
    kd = {("kd", seed): rng.integers(0, 2, 300).astype(float) for seed in (0, 1, 2)}
    better = {("paper", s): np.where(rng.random(300) < 0.3, 1.0, kd["kd", s]) for s in (0, 1, 2)}
    teacher = {("teacher", None): np.ones(300)}
    found = board(kd | better | teacher)
    name = ("arc", "paper")
    assert found.compare(name, "paper", "kd", CONFIG).verdict == "better"
    below = found.compare(name, "paper", "teacher", CONFIG)
    assert below.seeds == (0, 1, 2)
    assert below.verdict == "worse"
    assert below.baseline_value == 1.0
    same = board(kd | {("paper", s): kd["kd", s] for s in (0, 1, 2)}).compare(
        name, "paper", "kd", CONFIG
    )
    assert (same.verdict, same.test.p_value) == ("no significant difference", 1.0)


def test_models_that_were_asked_other_items_are_refused():
    with pytest.raises(ArtifactError, match="different items of arc"):
        board({("kd", 0): [1.0, 0.0], ("paper", 0): [1.0]})
    asked = table([1.0]).append_column("prompt_fingerprint", pa.array(["a"]))
    other = table([1.0]).append_column("prompt_fingerprint", pa.array(["b"]))
    with pytest.raises(ArtifactError, match="different items of arc"):
        ItemScores({("kd", 0): split_by_task(asked), ("paper", 0): split_by_task(other)})


def test_an_item_that_comes_twice_is_refused():
    twice = pa.concat_tables([table([1.0, 0.0]), table([1.0])])
    with pytest.raises(ArtifactError, match="'arc/000' of arc"):
        split_by_task(twice)
