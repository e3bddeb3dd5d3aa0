import pytest
import torch

from dskd_core.decoder.head import Head
from dskd_core.errors import ConfigError
from dskd_core.training.losses import logits
from dskd_core.training.losses.kernels import kernel
from dskd_core.training.losses.targets import teacher_targets
from dskd_core.training.losses.terms import Weights, reference_terms
from dskd_core.training.losses.vocabulary import head_pass, kd_loss

DIVERGENCES = ["forward_kl", "reverse_kl", "jsd"]


def problem(dtype=torch.float64, n=37, d=16, v=101):
    torch.manual_seed(0)
    student, teacher = (torch.randn(n, d, dtype=torch.float64) for _ in range(2))
    weight = torch.randn(v, d, dtype=torch.float64)
    labels = torch.randint(0, v, (n,))
    return student.to(dtype).requires_grad_(), teacher.to(dtype), weight.to(dtype), labels


def plain(temperature=2.0, kl=0.7):
    return Weights(positive=0, negative=0, margin=1, state=0, kl=kl, temperature=temperature)


def truth(student, teacher, head, labels, *, temperature=2.0, **options):
    terms = reference_terms(student, teacher, head, labels, weights=plain(temperature), **options)
    (gradient,) = torch.autograd.grad(terms["loss"], student)
    return terms, gradient


def agree(found, student, terms, gradient, atol=1e-12):
    (here,) = torch.autograd.grad(found.loss, student)
    torch.testing.assert_close(found.ce, terms["ce"].detach(), atol=atol, rtol=0)
    torch.testing.assert_close(found.kl, terms["kl"].detach(), atol=atol, rtol=0)
    torch.testing.assert_close(found.loss, terms["loss"], atol=10 * atol, rtol=0)
    torch.testing.assert_close(here, gradient, atol=1e-14, rtol=1e-10)
    torch.testing.assert_close(found.gradient_norm, gradient.norm(), atol=1e-14, rtol=1e-10)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 3.5])
def test_one_pass_equals_full_logits_in_value_and_gradient(temperature):
    student, teacher, weight, labels = problem()
    left = teacher_targets(teacher, weight, temperature=temperature)
    found = kd_loss(
        student,
        weight,
        labels,
        expected=left.expected,
        entropy=left.entropy,
        temperature=temperature,
        kl_weight=0.7,
    )
    agree(found, student, *truth(student, teacher, weight, labels, temperature=temperature))


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_general_path_equals_full_logits_for_every_divergence(divergence, temperature):
    student, teacher, weight, labels = problem()
    found = kd_loss(
        student,
        weight,
        labels,
        teacher_states=teacher,
        temperature=temperature,
        kl_weight=0.7,
        divergence=divergence,
    )
    options = {"temperature": temperature, "divergence": divergence}
    agree(found, student, *truth(student, teacher, weight, labels, **options))


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_bias_scale_and_soft_cap_are_part_of_the_loss(divergence):
    student, teacher, weight, labels = problem()
    bias = torch.randn(len(weight), dtype=torch.float64)
    head = Head(weight, bias=bias, scale=0.4, softcap=3.0)
    found = kd_loss(
        student,
        head,
        labels,
        teacher_states=teacher,
        temperature=2.0,
        kl_weight=0.7,
        divergence=divergence,
    )
    agree(found, student, *truth(student, teacher, head, labels, divergence=divergence))


def test_a_scaled_head_keeps_the_one_pass():
    student, teacher, weight, labels = problem()
    head = Head(weight, scale=0.25)
    left = teacher_targets(teacher, head, temperature=2.0)
    found = kd_loss(
        student,
        head,
        labels,
        expected=left.expected,
        entropy=left.entropy,
        temperature=2.0,
        kl_weight=0.7,
    )
    agree(found, student, *truth(student, teacher, head, labels))


def test_a_bent_head_never_takes_the_one_pass():
    student, teacher, weight, labels = problem()
    head = Head(weight, softcap=3.0)
    left = teacher_targets(teacher, head, temperature=2.0)
    settings = {"expected": left.expected, "entropy": left.entropy}
    settings |= {"temperature": 2.0, "kl_weight": 0.7}
    found = kd_loss(student, head, labels, teacher_states=teacher, **settings)
    agree(found, student, *truth(student, teacher, head, labels))
    with pytest.raises(ConfigError, match=r"soft cap.*give teacher_states"):
        kd_loss(student, head, labels, **settings)


@pytest.mark.parametrize("path", ["one pass", "general"])
def test_positions_are_weighted_and_those_without_label_or_weight_are_not_computed(path):
    student, teacher, weight, labels = problem()
    labels[3] = -1
    weights = torch.rand(len(labels), dtype=torch.float64)
    weights[5:9] = 0.0
    left = teacher_targets(teacher, weight, temperature=2.0)
    terms, gradient = truth(student, teacher, weight, labels, position_weights=weights)
    with torch.no_grad():
        student[5:9] = torch.nan  # a product with them would poison the sums
        teacher[5:9] = torch.nan
    given = {"expected": left.expected, "entropy": left.entropy}
    found = kd_loss(
        student,
        weight,
        labels,
        position_weights=weights,
        temperature=2.0,
        kl_weight=0.7,
        **(given if path == "one pass" else {"teacher_states": teacher}),
    )
    agree(found, student, terms, gradient)


def test_parts_of_a_step_with_the_whole_step_s_weight_add_up_to_it():
    student, teacher, weight, labels = problem()
    weights = torch.rand(len(labels))
    whole, gradient = truth(student, teacher, weight, labels, position_weights=weights.double())
    parts = [
        kd_loss(
            student[rows],
            weight,
            labels[rows],
            teacher_states=teacher[rows],
            position_weights=weights[rows],
            total_weight=float(weights.sum()),
            temperature=2.0,
            kl_weight=0.7,
        )
        for rows in (slice(0, 11), slice(11, 37))
    ]
    loss = parts[0].loss + parts[1].loss
    torch.testing.assert_close(loss, whole["loss"], atol=1e-6, rtol=0)
    (here,) = torch.autograd.grad(loss, student)
    torch.testing.assert_close(here, gradient, atol=1e-9, rtol=1e-6)


def test_no_scored_position_gives_zero_and_not_nan():
    student, teacher, weight, labels = problem()
    found = kd_loss(
        student, weight, labels * 0 - 1, teacher_states=teacher, temperature=2.0, kl_weight=0.7
    )
    (gradient,) = torch.autograd.grad(found.loss, student)
    assert found.loss.item() == 0.0
    assert not gradient.any()


def test_chunks_and_blocks_of_any_size_give_the_same(monkeypatch):
    student, teacher, weight, labels = problem()

    def run(divergence):
        found = kd_loss(
            student,
            weight,
            labels,
            teacher_states=teacher,
            temperature=2.0,
            kl_weight=0.7,
            divergence=divergence,
        )
        return torch.autograd.grad(found.loss, student)[0]

    whole = [run(divergence) for divergence in DIVERGENCES]
    monkeypatch.setitem(logits._CHUNK_LOGITS, "cpu", 101 * 9)
    monkeypatch.setitem(logits._BLOCK_BYTES, "cpu", 4 * 101 * 2)
    for divergence, before in zip(DIVERGENCES, whole, strict=True):
        torch.testing.assert_close(run(divergence), before, atol=1e-14, rtol=1e-11)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_what_a_step_before_left_in_the_buffers_changes_nothing(divergence):
    buffers = logits.Buffers()
    for n in (37, 12, 50):  # fewer rows, then more; what lies beyond them is another step's
        student, teacher, weight, labels = problem(n=n)
        found = kd_loss(
            student,
            weight,
            labels,
            teacher_states=teacher,
            temperature=2.0,
            kl_weight=0.7,
            divergence=divergence,
            buffers=buffers,
        )
        agree(found, student, *truth(student, teacher, weight, labels, divergence=divergence))
        for name in ("student", "teacher"):
            buffers.rows(name, n, weight).fill_(torch.nan)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_logits_far_apart_stay_finite(divergence):
    # Each row's peak is taken off first: exp(300) and log(0) would be inf in float32.
    student, teacher, weight, labels = problem(torch.float32)
    found = kd_loss(
        student,
        weight * 30.0,
        labels,
        teacher_states=teacher,
        temperature=1.0,
        kl_weight=0.7,
        divergence=divergence,
    )
    (gradient,) = torch.autograd.grad(found.loss, student)
    assert torch.isfinite(found.loss)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_bf16_products_stay_within_two_percent_of_float64(divergence):
    student, teacher, weight, labels = problem()
    weight = weight * 0.1
    terms, gradient = truth(student, teacher, weight, labels, divergence=divergence)
    low = weight.bfloat16()
    left = teacher_targets(teacher.bfloat16(), low, temperature=2.0)
    states = student.detach().float().requires_grad_()
    found = kd_loss(
        states,
        low,
        labels,
        expected=left.expected.half(),
        entropy=left.entropy,
        teacher_states=teacher.half(),
        temperature=2.0,
        kl_weight=0.7,
        divergence=divergence,
    )
    (here,) = torch.autograd.grad(found.loss, states)
    assert found.ce.item() == pytest.approx(terms["ce"].item(), rel=0.01)
    assert found.kl.item() == pytest.approx(terms["kl"].item(), rel=0.02, abs=2e-3)
    assert float((here - gradient).norm() / gradient.norm()) < 0.02


def test_the_kl_of_a_student_equal_to_the_teacher_is_zero():
    _, teacher, weight, labels = problem()
    targets = teacher_targets(teacher, weight, temperature=2.0)
    scores = head_pass(teacher, weight, labels, targets.expected, targets.entropy, temperature=2.0)
    assert scores.gradient is None
    assert float(scores.kl.abs().max()) < 1e-12
    assert scores.predicted.tolist() == targets.predicted.tolist()


def test_the_pass_s_gradient_is_that_of_each_position():
    student, teacher, weight, labels = problem()
    left = teacher_targets(teacher, weight, temperature=2.0)
    scores = head_pass(
        student, weight, labels, left.expected, left.entropy, temperature=2.0, kl_weight=0.7
    )
    _, gradient = truth(student, teacher, weight, labels)
    torch.testing.assert_close(scores.gradient / len(labels), gradient, atol=1e-14, rtol=1e-10)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_a_last_block_filled_up_to_the_compiled_shape_changes_nothing(monkeypatch, divergence):
    student, teacher, weight, labels = problem()
    shapes = set()

    def as_written(function, **_options):
        def call(*blocks):
            shapes.add(tuple(blocks[0].shape))
            return function(*blocks)

        return call

    monkeypatch.setattr(torch, "compile", as_written)
    monkeypatch.setitem(logits._CHUNK_LOGITS, "cpu", 101 * 16)
    monkeypatch.setitem(logits._BLOCK_BYTES, "cpu", 4 * 101 * 4)
    kernel.cache_clear()
    found = kd_loss(
        student,
        weight,
        labels,
        teacher_states=teacher,
        temperature=2.0,
        kl_weight=0.7,
        divergence=divergence,
        compiled=True,
    )
    kernel.cache_clear()
    agree(found, student, *truth(student, teacher, weight, labels, divergence=divergence))
    assert shapes == {(4, 101)}  # 37 positions: chunks of 16, 16 and 5, all in blocks of 4
