"""Pairs that people rated: readers, every layer against transformers, and two arms compared."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy import stats

from dskd_core.config import EvaluationConfig, TaggedSourceConfig
from dskd_core.evaluation.comparison.item_scores import ItemScores, split_by_task
from dskd_core.evaluation.comparison.ranking import compare_spearman
from dskd_core.evaluation.comparison.statistics import Resampling
from dskd_core.evaluation.word_senses.graded import GradedScorer
from dskd_core.evaluation.word_senses.items import Item
from dskd_core.evaluation.word_senses.readers import in_neutral, read_items
from dskd_core.evaluation.word_senses.store import score_senses

GENSIM = (
    "# The SimLex-999 Test data (https://example.org)\n# Word 1\tWord 2\tHuman (mean)\n"
    "small\tlarge\t1.58\nhappy\tkind\t9.2\nlight\tdark\t0.95\nriver\twater\t7.5\n"
)
AUTHORS = (
    "word1\tword2\tPOS\tSimLex999\tconc(w1)\nold\tnew\tA\t1.58\t2.72\nsmart\tclever\tA\t9.2\t1.7\n"
)


def source(path):
    return TaggedSourceConfig(kind="graded_pairs", uri=str(path))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.txt", GENSIM, {"large / small": "1.58", "happy / kind": "9.2"}),
        ("a.tsv", AUTHORS, {"new / old": "1.58", "clever / smart": "9.2"}),
        ("a.csv", "Word_A,word_b,score\nup,down,2\n", {"down / up": "2"}),
    ],
)
def test_ratings_are_found_by_the_names_of_their_columns(tmp_path, name, text, expected):
    path = tmp_path / name
    path.write_text(text, "utf-8")
    items, dirt = read_items(source(path))
    assert expected.items() <= {item.word: item.gold for item in items}.items()
    assert not dirt.counts


def test_rows_without_a_rating_are_left_out_and_counted(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("a\tb\t1\na\tc\tnan\na\td\t\nb\tB\t3\na\t\t3\nb\ta\t1\n", "utf-8")
    items, dirt = read_items(source(path))
    assert [item.word for item in items] == ["a / b"]
    assert dirt.counts == {"no_rating": 2, "same_word": 1, "wrong_columns": 1, "duplicate": 1}


def naive_spearman(a, b):
    def ranks(values):
        return [
            sum(other < value for other in values) + sum(other == value for other in values) / 2
            for value in values
        ]

    x, y = np.array(ranks(a)), np.array(ranks(b))
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum()))


def naive_similarity(states, pair):
    a, b = (states[i] - states.mean(axis=0) for i in (2 * pair, 2 * pair + 1))
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def test_every_layer_is_held_against_the_ratings_and_the_best_is_the_largest():
    rng = np.random.default_rng(0)
    ratings = rng.integers(0, 5, 12)  # with ties
    states = rng.normal(size=(4, 24, 6))
    states[2, 1::2] += 0.7 * ratings[:, None] * states[2, 0::2]
    items = [
        Item(str(n), f"a{n} / b{n}", f"{rating:g}", (in_neutral(f"a{n}"), in_neutral(f"b{n}")))
        for n, rating in enumerate(ratings)
    ]
    antonyms = np.arange(12) < 3
    scorer = GradedScorer(items, states, antonyms)
    naive = [[naive_similarity(layer, pair) for pair in range(12)] for layer in states]
    expected = [naive_spearman(layer, ratings.tolist()) for layer in naive]
    assert scorer.correlations() == pytest.approx(expected)
    best = int(np.argmax(expected))
    assert scorer.best_layer == best != 3
    rows = scorer.rows()
    assert [r["score"] for r in rows if r["measure"] == "graded_best"] == pytest.approx(naive[best])
    assert [r["score"] for r in rows if r["measure"] == "graded_last"] == pytest.approx(naive[3])
    ranks = [np.mean([sum(o < layer[i] for o in layer) / 11 for i in range(3)]) for layer in naive]
    assert scorer.report()["antonym_ranks"] == pytest.approx(ranks, abs=1e-6)
    assert scorer.report()["antonym_pairs"] == 3


def test_scores_are_those_of_transformers_hidden_states_at_the_words(miniature, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = tmp_path / "graded.txt"
    path.write_text(GENSIM, "utf-8")
    config = miniature.config.teacher
    scores = score_senses(
        miniature.store, source(path), config, miniature.dictionary(), miniature.teacher()
    )
    model = AutoModelForCausalLM.from_pretrained(config.source, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(config.source)
    items, _ = read_items(source(path))
    states = []
    for context in (context for item in items for context in item.contexts):
        ids = tokenizer(context.text, return_tensors="pt", return_offsets_mapping=True)
        own = [i for i, (_, stop) in enumerate(ids.offset_mapping[0]) if stop > context.start]
        with torch.no_grad():
            layers = model(ids.input_ids, output_hidden_states=True).hidden_states
        states.append([layer[0, own].mean(dim=0).numpy() for layer in layers])
    states = np.array(states).transpose(1, 0, 2)
    ratings = [float(item.gold) for item in items]
    expected = [
        naive_spearman([naive_similarity(layer, i) for i in range(4)], ratings) for layer in states
    ]
    report = scores.record.report
    assert report["spearman_by_layer"] == pytest.approx(expected, abs=1e-6)
    assert report["means"]["graded_best"] == pytest.approx(max(expected))
    assert report["means"]["graded_last"] == pytest.approx(expected[-1])
    assert report["antonym_pairs"] == 2, "small and large, light and dark, by the lexicon"


def table(similarity, ratings):
    n = len(ratings)
    items = [f"{i:03d}" for i in range(n)]
    columns = {"measure": ["graded_best"] * n, "item": items, "word": items}
    return pa.table(columns | {"gold": [f"{r:g}" for r in ratings], "score": similarity})


def test_two_arms_are_compared_by_the_difference_of_their_correlations():
    rng = np.random.default_rng(2)
    ratings = rng.normal(size=150).round(2)
    kd = np.stack([ratings + rng.normal(size=150) * 2 for _ in range(2)])
    arm = np.stack([ratings + rng.normal(size=150) for _ in range(2)])
    scores = {
        (name, seed): split_by_task(table(of[seed], ratings), "simlex")
        for name, of in (("kd", kd), ("mine", arm))
        for seed in (0, 1)
    }
    config = EvaluationConfig(n_resamples=300)
    pair = ItemScores(scores).compare(("simlex", "graded_best"), "mine", "kd", config)
    gaps = [
        stats.spearmanr(a, ratings).statistic - stats.spearmanr(b, ratings).statistic
        for a, b in zip(arm, kd, strict=True)
    ]
    assert pair.comparison.by_seed == pytest.approx(gaps)
    assert pair.arm_value - pair.baseline_value == pytest.approx(np.mean(gaps))
    assert pair.test is None
    one = compare_spearman(arm[:1], kd[:1], ratings, Resampling(n_resamples=1000))
    other = stats.bootstrap(
        (arm[0], kd[0], ratings),
        lambda a, b, r: stats.spearmanr(a, r).statistic - stats.spearmanr(b, r).statistic,
        paired=True, vectorized=False, n_resamples=1000, method="percentile", rng=0,
    ).confidence_interval  # fmt: skip
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.04)
