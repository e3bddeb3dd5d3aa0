import pytest
import torch

from dskd_core.training import head as head_module
from dskd_core.training.head import HeadLoss, head_pass, teacher_targets
from dskd_core.training.losses import reference_kd


def _problem(dtype=torch.float64, n=37, d=16, v=101):
    torch.manual_seed(0)
    student = torch.randn(n, d, dtype=torch.float64)
    teacher = torch.randn(n, d, dtype=torch.float64)
    weights = torch.randn(v, d, dtype=torch.float64)
    labels = torch.randint(0, v, (n,))
    return student.to(dtype), teacher.to(dtype), weights.to(dtype), labels


@pytest.mark.parametrize("temperature", [1.0, 2.0, 3.5])
def test_one_pass_equals_full_logits_in_value_and_gradient(temperature):
    student, teacher, weights, labels = _problem()
    student.requires_grad_(True)
    ce, kl = reference_kd(student, teacher, weights, labels, temperature=temperature)
    (expected,) = torch.autograd.grad(ce + 0.7 * temperature**2 * kl, student)
    targets = teacher_targets(teacher, weights, temperature=temperature)
    loss, ce_here, kl_here = HeadLoss.apply(
        student, weights, labels, targets.expected, targets.entropy, temperature, 0.7
    )
    (gradient,) = torch.autograd.grad(loss, student)
    torch.testing.assert_close(ce_here, ce, atol=1e-12, rtol=0)
    torch.testing.assert_close(kl_here, kl, atol=1e-12, rtol=0)
    torch.testing.assert_close(gradient, expected, atol=1e-14, rtol=1e-10)


def test_chunks_and_blocks_of_any_size_give_the_same(monkeypatch):
    student, teacher, weights, labels = _problem()
    targets = teacher_targets(teacher, weights, temperature=2.0)

    def run():
        return head_pass(
            student,
            weights,
            labels,
            targets.expected,
            targets.entropy,
            temperature=2.0,
            kl_weight=0.7,
        )

    whole = run()
    monkeypatch.setattr(head_module, "_CHUNK_BYTES", 8 * 101 * 5)
    monkeypatch.setattr(head_module, "_BLOCK_BYTES", 4 * 101 * 2)
    pieces = run()
    torch.testing.assert_close(pieces.gradient, whole.gradient, atol=1e-13, rtol=0)
    torch.testing.assert_close(pieces.kl, whole.kl, atol=1e-13, rtol=0)


def test_bf16_products_stay_close_to_float64():
    student, teacher, weights, labels = _problem()
    weights = weights * 0.1
    student.requires_grad_(True)
    ce, kl = reference_kd(student, teacher, weights, labels, temperature=2.0)
    (expected,) = torch.autograd.grad(ce + 2.8 * kl, student)
    low = weights.bfloat16()
    targets = teacher_targets(teacher.bfloat16(), low, temperature=2.0)
    scores = head_pass(
        student.detach().float(),
        low,
        labels,
        targets.expected.half(),
        targets.entropy,
        temperature=2.0,
        kl_weight=0.7,
    )
    assert float(scores.ce.mean()) == pytest.approx(ce.item(), rel=0.01)
    assert float(scores.kl.mean()) == pytest.approx(kl.item(), rel=0.02, abs=2e-3)
    error = (scores.gradient / len(labels) - expected).norm() / expected.norm()
    assert float(error) < 0.02


def test_the_kl_of_a_student_equal_to_the_teacher_is_zero():
    _, teacher, weights, labels = _problem()
    targets = teacher_targets(teacher, weights, temperature=2.0)
    scores = head_pass(teacher, weights, labels, targets.expected, targets.entropy, temperature=2.0)
    assert scores.gradient is None
    assert float(scores.kl.abs().max()) < 1e-12
    assert scores.predicted.tolist() == targets.predicted.tolist()
