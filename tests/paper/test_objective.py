"""The paper on the objective (Eq. 3-5) and its numbers."""

import numpy as np
import pytest
import torch

from dskd_core.config import DictionaryConfig, TrainingConfig
from dskd_core.dictionary.store import load_dictionary
from dskd_core.training.head import HeadLoss, teacher_targets
from dskd_core.training.losses import mean_square, reference_kd, semantic_terms


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
    ce, kl = reference_kd(n, m, w, labels, temperature=2.0)
    targets = teacher_targets(m, w, temperature=2.0)
    loss, *_ = HeadLoss.apply(n, w, labels, targets.expected, targets.entropy, 2.0, 0.7)
    assert loss.item() == pytest.approx((ce + 2.8 * kl).item(), rel=1e-12)


def test_the_kl_is_from_teacher_to_student_at_the_temperature():
    w = torch.eye(2, dtype=torch.float64)
    teacher, student = torch.tensor([[2.0, 0.0]]).double(), torch.tensor([[0.0, 0.0]]).double()
    _, kl = reference_kd(student, teacher, w, torch.tensor([0]), temperature=2.0)
    p = np.exp([1.0, 0.0]) / np.exp([1.0, 0.0]).sum()
    assert kl.item() == pytest.approx(float((p * np.log(p / 0.5)).sum()), rel=1e-12)


def test_positives_pull_and_negatives_push_only_inside_the_margin():
    states = torch.zeros(1, 1, requires_grad=True)
    rows = torch.tensor([[0.5], [3.0]])
    near, far = torch.tensor([[0]]), torch.tensor([[1]])
    inside = semantic_terms(states, rows, near, near, margin=1.0)
    (gradient,) = torch.autograd.grad(inside.positive, states, retain_graph=True)
    assert gradient.item() < 0  # down the gradient, towards 0.5
    (gradient,) = torch.autograd.grad(inside.negative, states)
    assert gradient.item() > 0  # away from it
    outside = semantic_terms(states, rows, near, far, margin=1.0)
    assert outside.negative.item() == 0.0


def test_antonyms_never_include_own_senses(miniature):
    dictionary = load_dictionary(miniature.dictionary())
    assert len(dictionary.negatives.rows)
    for token in range(dictionary.n_tokens):
        assert not set(dictionary.own.of(token)) & set(dictionary.negatives.of(token))


def test_tokens_have_at_most_25_synonyms_and_25_antonyms(miniature):
    words = miniature.dictionary().table("words.parquet").to_pylist()
    most = max(row["row_stop"] - row["row_start"] for row in words)
    dictionary = load_dictionary(miniature.dictionary())
    assert np.diff(dictionary.positives.offsets).max() <= 25 * most
    assert np.diff(dictionary.negatives.offsets).max() <= 25 * most
