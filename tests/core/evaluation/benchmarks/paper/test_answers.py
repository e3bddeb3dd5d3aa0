import pytest

from dskd_core.evaluation.benchmarks.paper.answers import label_in, passage_scores, squad_scores

LETTERS = ("A", "B", "C", "D", "E")


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("B", "B"),
        (" b\n", "B"),
        ("(C)", "C"),
        ("**D**", "D"),
        ("E. all of these", "E"),
        ("A) tin\nBecause", "A"),
        ("A dog", None),  # an article, not a label
        ("Because", None),
        ("F", None),  # no such choice
        ("", None),
        ("\n\n", None),
        ("The answer is B", None),
        ("B, C", "B"),
        ("BC", None),
        ("1", None),
    ],
)
def test_an_answer_names_a_label_or_nothing(answer, label):
    assert label_in(answer, LETTERS) == label


def test_piqa_is_answered_by_number():
    assert label_in("2", ("1", "2")) == "2"
    assert label_in("2. Use wax.", ("1", "2")) == "2"
    assert label_in("3", ("1", "2")) is None
    assert label_in("12", ("1", "2")) is None


@pytest.mark.parametrize(
    ("answer", "gold", "f1", "exact"),
    [
        ("The Rhine.", ["rhine"], 1.0, 1.0),
        ("upper Rhine valley", ["Rhine valley", "Alps"], 0.8, 0.0),  # 2 of 3 and 2 of 2
        ("Rhine Rhine", ["Rhine"], 2 / 3, 0.0),  # a repeated word counts once
        ("Danube", ["Rhine"], 0.0, 0.0),
        ("", ["Rhine"], 0.0, 0.0),
        ("no answer", ["no answer"], 1.0, 1.0),
        ("No answer.", ["no answer"], 1.0, 1.0),
        ("Rhine", ["no answer"], 0.0, 0.0),
        ("no answer", ["Rhine"], 0.0, 0.0),
        ("Rhine\nno answer", ["Rhine"], 1.0, 1.0),  # the first line alone
        ("the", ["the", "Rhine"], 0.0, 0.0),  # an accepted article is no answer at all
    ],
)
def test_a_passages_answer_is_scored_as_squad_does(answer, gold, f1, exact):
    assert passage_scores(answer, gold) == pytest.approx((f1, exact))


def test_the_harness_takes_no_word_for_no_answer():
    assert squad_scores("no answer", []) == (0.0, 0.0)
    assert squad_scores(" ", []) == (1.0, 1.0)
