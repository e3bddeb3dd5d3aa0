"""The paper on the objective (Eq. 3-5) and its numbers."""

import numpy as np
import pytest
import torch

from dskd_core.config import DictionaryConfig, TrainingConfig
from dskd_core.dictionary.store import load_dictionary
from dskd_core.training.losses.distillation import Distillation, distillation_loss
from dskd_core.training.losses.senses import mean_square, sense_terms
from tests.reference import objective_terms, paper_recipe


def test_the_defaults_are_the_paper_s_numbers_for_llama_3():
    config = TrainingConfig()
    assert config.n_candidates == 5
    assert config.positive_weight == config.negative_weight == 1.0
    assert config.margin == 1.0
    assert (config.temperature, config.kl_weight) == (2.0, 0.7)
    assert (config.learning_rate, config.weight_decay) == (1.5e-4, 1e-3)
    assert (config.warmup_share, config.n_epochs) == (0.1, 2.0)
    assert (config.min_related, config.related_share) == (25, 0.4)
    assert DictionaryConfig().max_synonyms == DictionaryConfig().max_antonyms == 25


def test_mse_is_the_squared_distance_over_d():
    states, rows = torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([[[1.0, 2.0, 2.0]]])
    assert mean_square(states, rows).item() == pytest.approx(9.0 / 3.0)


def test_the_kl_counts_alpha_t_squared_which_is_2_8():
    torch.manual_seed(0)
    n, m, w = (torch.randn(shape, dtype=torch.float64) for shape in ((6, 4), (6, 4), (9, 4)))
    labels = torch.randint(0, 9, (6,))
    found = distillation_loss(n, w, labels, m, Distillation(temperature=2.0, kl_weight=0.7))
    p, q = ((x @ w.T / 2.0).softmax(dim=1) for x in (m, n))
    kl = (p * (p / q).log()).sum(dim=1).mean()
    ce = -(n @ w.T).log_softmax(dim=1)[torch.arange(6), labels].mean()
    assert found.loss.item() == pytest.approx((ce + 2.8 * kl).item(), rel=1e-12)


def test_the_kl_is_from_teacher_to_student_at_the_temperature():
    w = torch.eye(2, dtype=torch.float64)
    teacher, student = torch.tensor([[2.0, 0.0]]).double(), torch.tensor([[0.0, 0.0]]).double()
    label = torch.tensor([0])
    found = distillation_loss(
        student, w, label, teacher, Distillation(temperature=2.0, kl_weight=0.7)
    )
    p = np.exp([1.0, 0.0]) / np.exp([1.0, 0.0]).sum()
    assert found.kl.item() == pytest.approx(float((p * np.log(p / 0.5)).sum()), rel=1e-12)


def test_the_objective_is_the_sum_of_its_weighted_terms():
    torch.manual_seed(0)
    n, m, w, rows = (torch.randn(s, dtype=torch.float64) for s in ((6, 4), (6, 4), (9, 4), (7, 4)))
    terms = objective_terms(
        n,
        m,
        w,
        torch.randint(0, 9, (6,)),
        weights=paper_recipe(
            positive=1.5, negative=0.5, margin=2.0, state=0.25, kl=0.7, temperature=2
        ),
        rows=rows,
        positives=[[0, 1], [2, -1]],
        negatives=[[3, -1], [-1, -1]],
        chosen=[1, 4],
    )
    pulls = [((n[1] - rows[0]) ** 2).mean(), ((n[1] - rows[1]) ** 2).mean()]
    positive = ((pulls[0] + pulls[1]) / 2 + ((n[4] - rows[2]) ** 2).mean()) / 2
    negative = (2.0 - ((n[1] - rows[3]) ** 2).mean()).clamp(min=0.0) / 2
    expected = terms["ce"] + 2.8 * terms["kl"] + 1.5 * positive + 0.5 * negative
    expected = expected + 0.25 * ((n - m) ** 2).mean()
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-12)


def test_positives_pull_and_negatives_push_only_inside_the_margin():
    states = torch.zeros(1, 1, requires_grad=True)
    rows = torch.tensor([[0.5], [3.0]])
    near, far = torch.tensor([[0]]), torch.tensor([[1]])
    inside = sense_terms(states, rows, near, near, margin=1.0)
    (gradient,) = torch.autograd.grad(inside.positive, states, retain_graph=True)
    assert gradient.item() < 0  # down the gradient, towards 0.5
    (gradient,) = torch.autograd.grad(inside.negative, states)
    assert gradient.item() > 0  # away from it
    outside = sense_terms(states, rows, near, far, margin=1.0)
    assert outside.negative.item() == 0.0


def test_antonyms_never_include_own_senses(miniature):
    dictionary = load_dictionary(miniature.dictionary())
    assert len(dictionary.antonyms.rows)
    for token in range(dictionary.n_tokens):
        assert not set(dictionary.own.rows_of(token)) & set(dictionary.antonyms.rows_of(token))


def test_tokens_have_at_most_25_synonyms_and_25_antonyms(miniature):
    words = miniature.dictionary().table("words.parquet").to_pylist()
    most = max(row["row_stop"] - row["row_start"] for row in words)
    dictionary = load_dictionary(miniature.dictionary())
    assert np.diff(dictionary.synonyms.offsets).max() <= 25 * most
    assert np.diff(dictionary.antonyms.offsets).max() <= 25 * most
