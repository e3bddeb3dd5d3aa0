"""Terms of the teacher's state against loops over positions (tests/reference.py)."""

import pytest
import torch

from dskd_core.decoder.head import Head
from dskd_core.training.losses.states import cosine, head_metric, head_mse, mse
from tests.reference import state_term


@pytest.mark.parametrize("term", ["state_mse", "state_cosine", "state_head_mse"])
def test_values_and_gradients_equal_a_loop_over_positions(term):
    torch.manual_seed(0)
    n, m, w = (torch.randn(size, dtype=torch.float64) for size in ((7, 5), (7, 5), (11, 5)))
    n.requires_grad_()
    head = Head(w, bias=torch.randn(11, dtype=torch.float64), scale=0.5)
    found = {
        "state_mse": lambda: mse(n, m),
        "state_cosine": lambda: cosine(n, m),
        "state_head_mse": lambda: head_mse(n, m, head_metric(head)),
    }[term]()
    expected = torch.stack([state_term(term, a, b, head) for a, b in zip(n, m, strict=True)])
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    shares = torch.rand(7, dtype=torch.float64)
    gradients = [torch.autograd.grad((shares * one).sum(), n)[0] for one in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


def test_the_head_s_metric_is_in_float32_whatever_the_products_are():
    weight = torch.tensor([[1.0, 0.0], [3.0, 2.0]]).bfloat16()
    assert torch.equal(head_metric(Head(weight)), torch.tensor([[5.0, 3.0], [3.0, 2.0]]))


def test_a_state_of_zeros_has_no_direction_and_no_gradient_that_is_no_number():
    n = torch.zeros(1, 3, requires_grad=True)
    (value,) = cosine(n, torch.ones(1, 3))
    value.backward()
    assert value == 1.0
    assert n.grad.isfinite().all()
