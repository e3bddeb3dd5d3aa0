"""The sense loss as a module equals the pipeline's own, to the last bit."""

import numpy as np
import pytest
import torch

from dskd_core.dictionary.store import load_dictionary
from dskd_core.errors import ConfigError
from dskd_core.training.candidates.nearest import nearest_rows
from dskd_core.training.losses.senses import sense_terms
from dskd_core.training.sense_loss import SenseLoss


@pytest.fixture(scope="module")
def dictionary(miniature):
    return load_dictionary(miniature.dictionary())


def batch(dictionary):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 2, 15, 32)
    labels = torch.randint(0, dictionary.n_tokens, (2, 15))
    labels[0, 3] = -100
    return student.requires_grad_(), teacher, labels


def test_it_equals_the_terms_at_positions_with_positives(dictionary):
    student, teacher, labels = batch(dictionary)
    found = SenseLoss(dictionary, n_candidates=2, margin=2.0, negative_weight=1.5)(
        student, teacher, labels
    )
    flat = labels.flatten().numpy()
    near = nearest_rows(teacher.reshape(-1, 32).numpy(), flat, dictionary, n_candidates=2)
    kept = np.flatnonzero((flat >= 0) & (near.positives >= 0).any(axis=1))
    assert found.n_positions == len(kept) > 0
    expected = sense_terms(
        student.reshape(-1, 32)[kept],
        torch.from_numpy(dictionary.rows),
        torch.from_numpy(near.positives[kept]).long(),
        torch.from_numpy(near.negatives[kept]).long(),
        margin=2.0,
    )
    assert torch.equal(found.loss, expected.positive + 1.5 * expected.negative)
    (here,) = torch.autograd.grad(found.loss, student, retain_graph=True)
    assert here.abs().sum() > 0


def test_a_masked_position_is_as_one_without_a_label(dictionary):
    student, teacher, labels = batch(dictionary)
    mask = torch.ones_like(labels)
    mask[1, 7:] = 0
    without = torch.where(mask.bool(), labels, -1)
    loss = SenseLoss(dictionary)
    assert torch.equal(
        loss(student, teacher, labels, mask).loss, loss(student, teacher, without).loss
    )


def test_the_rows_move_with_the_module_and_are_not_saved(dictionary):
    loss = SenseLoss(dictionary)
    assert loss.to(torch.float64).rows.dtype == torch.float64
    assert loss.state_dict() == {}


def test_states_of_another_width_and_impossible_settings_are_refused(dictionary):
    student, teacher, labels = batch(dictionary)
    with pytest.raises(ConfigError, match="widths 16 and 32 do not fit a dictionary of width 32"):
        SenseLoss(dictionary)(student[..., :16], teacher, labels)
    with pytest.raises(ConfigError, match="margin -1"):
        SenseLoss(dictionary, margin=-1.0)


def test_other_positions_and_tokens_of_another_vocabulary_are_refused(dictionary):
    student, teacher, labels = batch(dictionary)
    loss = SenseLoss(dictionary)
    shifted = labels[:, 1:]
    with pytest.raises(ConfigError, match=r"labels has the positions \[2, 14\].*\[2, 15\]"):
        loss(student, teacher, shifted)
    with pytest.raises(ConfigError, match="teacher_states has the positions"):
        loss(student, teacher[:, 1:], labels)
    with pytest.raises(ConfigError, match="attention_mask has the positions"):
        loss(student, teacher, labels, torch.ones(2, 14))
    labels[1, 2] = dictionary.n_tokens
    with pytest.raises(ConfigError, match=rf"{dictionary.n_tokens} is no token of the dictionary"):
        loss(student, teacher, labels)
