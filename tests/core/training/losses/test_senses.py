"""L_sem in bulk against Eq. 4-5 as it reads."""

import numpy as np
import pytest
import torch

from dskd_core.training.losses import senses
from dskd_core.training.losses.senses import sense_terms
from tests.reference import objective_terms, paper_recipe


def problem(n=30, d=8, r=50, kappa=5):
    torch.manual_seed(0)
    states = torch.randn(n, d, dtype=torch.float64, requires_grad=True)
    rows = torch.randn(r, d, dtype=torch.float64)
    positives, negatives = (torch.randint(-1, r, (n, kappa)) for _ in range(2))
    positives[4], negatives[:10] = -1, -1
    return states, rows, positives, negatives


def truth(states, rows, positives, negatives, margin):
    zero = torch.zeros(1, states.shape[1], dtype=torch.float64)
    weights = paper_recipe(positive=1, negative=1, margin=margin, state=0, kl=0, temperature=1)
    terms = objective_terms(
        states,
        states.detach(),
        zero,
        torch.zeros(len(states), dtype=torch.long),
        weights=weights,
        rows=rows,
        positives=positives.tolist(),
        negatives=negatives.tolist(),
        chosen=range(len(states)),
    )
    gradients = [
        torch.autograd.grad(terms[name], states, retain_graph=True)[0]
        for name in ("positive", "negative")
    ]
    return terms, gradients


@pytest.mark.parametrize("block_bytes", [1, 1 << 11, 1 << 20])
def test_values_gradients_and_norms_equal_the_truth(monkeypatch, block_bytes):
    monkeypatch.setattr(senses, "_BLOCK_BYTES", block_bytes)
    states, rows, positives, negatives = problem()
    terms, gradients = truth(states, rows, positives, negatives, 2.0)
    found = sense_terms(states, rows, positives, negatives, margin=2.0)
    values = (found.positive, found.negative)
    norms = (found.positive_norm, found.negative_norm)
    names = ("positive", "negative")
    for name, value, norm, gradient in zip(names, values, norms, gradients, strict=True):
        (here,) = torch.autograd.grad(value, states, retain_graph=True)
        torch.testing.assert_close(value, terms[name], atol=1e-13, rtol=1e-12)
        torch.testing.assert_close(here, gradient, atol=1e-15, rtol=1e-11)
        torch.testing.assert_close(norm, gradient.norm(), atol=1e-15, rtol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_rows_of_any_dtype_are_summed_in_float32(dtype):
    states, rows, positives, negatives = problem()
    rows = rows.to(dtype)
    terms, gradients = truth(states, rows.double(), positives, negatives, 2.0)
    low = states.detach().float().requires_grad_()
    found = sense_terms(low, rows, positives, negatives, margin=2.0)
    (here,) = torch.autograd.grad(found.positive + found.negative, low)
    assert found.positive.item() == pytest.approx(terms["positive"].item(), rel=1e-5)
    assert found.negative.item() == pytest.approx(terms["negative"].item(), rel=1e-5)
    torch.testing.assert_close(here.double(), sum(gradients), atol=1e-6, rtol=1e-4)


def test_states_far_from_zero_keep_their_digits():
    # mean ||p||^2 - ||mean||^2 loses digits where rows are large and close: 1e-3 is allowed.
    states, rows, positives, _ = problem()
    rows = 30.0 + rows
    near = (states.detach() + 30.0).requires_grad_()
    none = torch.full_like(positives, -1)
    terms, _ = truth(near, rows, positives, positives, 2.0)
    found = sense_terms(near.detach().float(), rows.float(), positives, none, margin=2.0)
    assert found.positive.item() == pytest.approx(terms["positive"].item(), rel=1e-3)


def test_without_the_hinge_antonyms_are_not_read():
    states, rows, positives, negatives = problem()
    negatives[negatives >= 0] = 10**9  # reading it would fail
    found = sense_terms(states, rows, positives, negatives, margin=2.0, hinge=False)
    assert found.negative.item() == found.active_share.item() == 0.0
    assert found.positive.item() > 0.0


def test_parts_of_a_step_with_the_whole_step_s_total_add_up_to_it():
    states, rows, positives, negatives = problem()
    whole = sense_terms(states, rows, positives, negatives, margin=2.0)
    parts = [
        sense_terms(states[s], rows, positives[s], negatives[s], margin=2.0, total=len(states))
        for s in (slice(0, 7), slice(7, 30))
    ]
    torch.testing.assert_close(parts[0].positive + parts[1].positive, whole.positive)
    torch.testing.assert_close(parts[0].negative + parts[1].negative, whole.negative)


def test_the_active_share_counts_pairs_inside_the_margin():
    # MSEs 0, 4 and 4 against margin 1: one of three pairs.
    states = torch.zeros(2, 1, dtype=torch.float64)
    rows = torch.tensor([[0.0], [2.0]], dtype=torch.float64)
    none = torch.full((2, 2), -1)
    found = sense_terms(states, rows, none, torch.tensor([[0, 1], [1, -1]]), margin=1.0)
    assert found.active_share.item() == pytest.approx(1 / 3)


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
    terms = sense_terms(
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
    terms = sense_terms(states, rows, none, torch.tensor([[0, 1]]), margin=1.0)
    assert float(terms.negative) == 0.5
    assert float(terms.active_share) == 0.5
    assert float(terms.positive) == 0.0


def test_gradients_equal_finite_differences():
    torch.manual_seed(0)
    states = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    rows = torch.randn(9, 3, dtype=torch.float64)
    positives, negatives = torch.randint(0, 9, (4, 2)), torch.randint(-1, 9, (4, 2))

    def loss(n):
        terms = sense_terms(n, rows, positives, negatives, margin=3.0)
        return terms.positive + 1.5 * terms.negative

    assert torch.autograd.gradcheck(loss, (states,))


def test_no_positions_give_zero_and_not_nan():
    empty = torch.zeros(0, 4)
    terms = sense_terms(
        empty,
        torch.ones(3, 4),
        torch.zeros(0, 2, dtype=torch.long),
        torch.zeros(0, 2, dtype=torch.long),
        margin=1.0,
    )
    assert float(terms.positive) == 0.0
    assert float(terms.negative) == 0.0
