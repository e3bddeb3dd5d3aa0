import numpy as np
import pytest
import torch

from dskd_core.config import TrainingConfig
from dskd_core.training.losses.senses import semantic_terms
from dskd_core.training.losses.terms import Weights


def _naive(states, rows, positives, negatives, margin):
    """L_sem's two terms position by position, in float64."""
    pulls, pushes = [], []
    for n, ps, ns in zip(states, positives, negatives, strict=True):
        mses = [np.mean((n - rows[p]) ** 2) for p in ps if p >= 0]
        pulls.append(np.mean(mses) if mses else 0.0)
        hinges = [max(0.0, margin - np.mean((n - rows[a]) ** 2)) for a in ns if a >= 0]
        pushes.append(np.mean(hinges) if hinges else 0.0)
    return np.mean(pulls), np.mean(pushes)


def test_both_terms_equal_a_naive_float64_loop():
    rng = np.random.default_rng(0)
    states, rows = rng.normal(size=(30, 8)), rng.normal(size=(50, 8))
    positives = rng.integers(-1, 50, (30, 5))
    negatives = rng.integers(-1, 50, (30, 5))
    negatives[:10] = -1
    terms = semantic_terms(
        torch.tensor(states),
        torch.tensor(rows),
        torch.tensor(positives),
        torch.tensor(negatives),
        margin=2.0,
    )
    pull, push = _naive(states, rows, positives, negatives, 2.0)
    assert float(terms.positive) == pytest.approx(pull, rel=1e-12)
    assert float(terms.negative) == pytest.approx(push, rel=1e-12)


def test_the_hinge_is_inside_the_mean():
    # MSEs 0 and 4 against margin 1: the mean of hinges is 0.5, the hinge of the mean is 0.
    states = torch.zeros(1, 1, dtype=torch.float64)
    rows = torch.tensor([[0.0], [2.0]], dtype=torch.float64)
    none = torch.tensor([[-1, -1]])
    terms = semantic_terms(states, rows, none, torch.tensor([[0, 1]]), margin=1.0)
    assert float(terms.negative) == 0.5
    assert float(terms.active_share) == 0.5
    assert float(terms.positive) == 0.0


def test_gradients_equal_finite_differences():
    torch.manual_seed(0)
    states = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    rows = torch.randn(9, 3, dtype=torch.float64)
    positives, negatives = torch.randint(0, 9, (4, 2)), torch.randint(-1, 9, (4, 2))

    def loss(n):
        terms = semantic_terms(n, rows, positives, negatives, margin=3.0)
        return terms.positive + 1.5 * terms.negative

    assert torch.autograd.gradcheck(loss, (states,))


def test_no_positions_give_zero_and_not_nan():
    empty = torch.zeros(0, 4)
    terms = semantic_terms(
        empty,
        torch.ones(3, 4),
        torch.zeros(0, 2, dtype=torch.long),
        torch.zeros(0, 2, dtype=torch.long),
        margin=1.0,
    )
    assert float(terms.positive) == 0.0
    assert float(terms.negative) == 0.0


def test_kd_is_the_same_objective_with_both_sense_weights_zero():
    config = TrainingConfig(positive_weight=1.5, negative_weight=1.5)
    kd, dskd = Weights.from_config(config, "kd", 9.0), Weights.from_config(config, "dskd", 9.0)
    assert (kd.positive, kd.negative, kd.state) == (0.0, 0.0, 0.0)
    assert (dskd.positive, dskd.negative, dskd.state) == (1.5, 1.5, 0.0)
    assert (kd.kl, kd.temperature) == (dskd.kl, dskd.temperature) == (0.7, 2.0)


def test_the_control_arm_pulls_to_the_teacher_s_state_instead():
    control = Weights.from_config(TrainingConfig(), "kd_mse", 9.0)
    assert (control.positive, control.negative, control.state) == (0.0, 0.0, 1.0)


def test_a_calibrated_margin_is_the_one_that_was_measured():
    assert Weights.from_config(TrainingConfig(margin="calibrated"), "dskd", 3.25).margin == 3.25
