"""The ranking of synonyms before antonyms, against a loop over positions (tests/reference.py)."""

import pytest
import torch

from dskd_core.training.losses.ranking import ranking
from tests import reference


def test_values_and_gradients_equal_a_loop_over_positions():
    torch.manual_seed(0)
    states = (2.0 * torch.randn(9, 6, dtype=torch.float64)).requires_grad_()
    rows = torch.randn(20, 6, dtype=torch.float64)
    near, far = (torch.randint(0, 20, (9, 3)) for _ in range(2))
    near[:3, 1:], far[2:5, 2], near[7], far[8] = -1, -1, -1, -1
    found = ranking(states, rows, near, far, temperature=0.3, offset=0.4)
    lists = zip(states, near.tolist(), far.tolist(), strict=True)
    expected = torch.stack(
        [reference.ranking(n, rows, s, a, temperature=0.3, offset=0.4) for n, s, a in lists]
    )
    assert found[7] == found[8] == 0.0
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    gradients = [torch.autograd.grad(one.sum(), states)[0] for one in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


def test_of_one_synonym_and_one_antonym_it_is_the_softened_margin_between_them():
    rows, one = torch.tensor([[1.0], [3.0]], dtype=torch.float64), torch.tensor([[0]])
    states = torch.zeros(1, 1, dtype=torch.float64)
    order = ranking(states, rows, one, one + 1, temperature=0.5, offset=9.0)
    wrong = ranking(states, rows, one + 1, one, temperature=1e-3, offset=0.3)
    z = (1.0 - 9.0 + 9.0) / 0.5
    assert order.item() == pytest.approx(0.5 * torch.tensor(z).exp().log1p().item(), rel=1e-6)
    assert wrong.item() == pytest.approx(9.0 - 1.0 + 0.3)
