"""What a model writes after prompts, and the sense loss in a trainer of somebody else's."""

import numpy as np
import pytest
import torch

from dskd_core.corpus.store import load_windows
from dskd_core.dictionary.store import load_dictionary
from dskd_core.prompts.answers import greedy_answers
from dskd_core.training.sense_loss import SenseLoss
from tests.gpu.test_states import teacher_on


@pytest.mark.parametrize("apart", [False, True])
def test_answers_are_those_of_a_cpu(miniature, device, apart, monkeypatch):
    """Together, of all lengths at once; apart, by transformers' generate."""
    monkeypatch.setattr("dskd_core.prompts.answers.bears_gap", lambda *_: not apart)
    windows = load_windows(miniature.corpus())
    prompts = [windows.window(number)[: 12 - 3 * number] for number in range(3)]
    here, there = (
        greedy_answers(teacher_on(miniature, place), prompts, windows.prefix, 5, {1})
        for place in ("cpu", device)
    )
    assert here == there
    assert max(map(len, here)) > 1


def test_the_sense_loss_of_another_trainer_is_that_of_a_cpu(miniature, device):
    dictionary = load_dictionary(miniature.dictionary())
    rng = np.random.default_rng(0)
    shape, d = (3, 40), dictionary.rows.shape[1]
    student, teacher = (rng.normal(size=(*shape, d)).astype(np.float32) for _ in range(2))
    labels, mask = rng.integers(-1, dictionary.n_tokens, shape), rng.integers(0, 2, shape)
    found = []
    for place in ("cpu", device):
        loss = SenseLoss(dictionary, n_candidates=2).to(place)
        states = torch.from_numpy(student).to(place).requires_grad_()
        told = (torch.from_numpy(array).to(place) for array in (teacher, labels, mask))
        terms = loss(states, *told)
        terms.loss.backward()
        found.append((terms.loss.detach().cpu(), states.grad.cpu(), terms.n_positions))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert found[0][2] > 0
