from dataclasses import replace

import pytest
import torch

from dskd_core.decoder.head import Head
from dskd_core.errors import ConfigError
from dskd_core.training.losses import logits
from dskd_core.training.losses.distillation import Distillation, distillation_loss
from dskd_core.training.losses.kernels import kernel
from dskd_core.training.losses.logits import Buffers
from dskd_core.training.losses.targets import TeacherTargets
from dskd_core.training.losses.vocabulary import score_vocabulary, vocabulary_gradient
from tests.reference import divergence_of, objective_terms, paper_recipe

DIVERGENCES = ["forward_kl", "reverse_kl", "jsd"]


def problem(dtype=torch.float64, n=37, d=16, v=101):
    torch.manual_seed(0)
    student, teacher = (torch.randn(n, d, dtype=torch.float64) for _ in range(2))
    weight = torch.randn(v, d, dtype=torch.float64)
    labels = torch.randint(0, v, (n,))
    return student.to(dtype).requires_grad_(), teacher.to(dtype), weight.to(dtype), labels


def kd(temperature=2.0, divergence="forward_kl", compiled=False):
    return Distillation(temperature, 0.7, divergence, compiled)


def plain(temperature=2.0, kl=0.7):
    return paper_recipe(positive=0, negative=0, margin=1, state=0, kl=kl, temperature=temperature)


def truth(student, teacher, head, labels, *, temperature=2.0, **options):
    terms = objective_terms(student, teacher, head, labels, weights=plain(temperature), **options)
    (gradient,) = torch.autograd.grad(terms["loss"], student)
    return terms, gradient


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("ce_weight", [0.0, 0.3])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_a_weight_of_ce_scales_its_share_of_value_and_gradient(divergence, ce_weight, softcap):
    student, teacher, weight, labels = problem()
    head = Head(weight, softcap=softcap)
    settings = Distillation(2.0, 0.7, divergence, ce_weight=ce_weight)
    found = distillation_loss(student, head, labels, teacher, settings)
    z, t = head.logits(student), head.logits(teacher)
    ce = torch.nn.functional.cross_entropy(z, labels)
    each = divergence_of((t / 2).softmax(1), (z / 2).softmax(1), divergence)
    expected = ce_weight * ce + 2.8 * each.mean()
    torch.testing.assert_close(found.loss, expected, rtol=1e-10, atol=1e-10)
    gradients = [torch.autograd.grad(one, student)[0] for one in (found.loss, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found.ce, ce.detach(), rtol=1e-10, atol=1e-10)


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
    left = TeacherTargets.from_states(teacher, weight, temperature=temperature)
    found = distillation_loss(student, weight, labels, left, kd(temperature))
    agree(found, student, *truth(student, teacher, weight, labels, temperature=temperature))


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_general_path_equals_full_logits_for_every_divergence(divergence, temperature):
    student, teacher, weight, labels = problem()
    found = distillation_loss(
        student,
        weight,
        labels,
        teacher,
        kd(temperature, divergence=divergence),
    )
    options = {"temperature": temperature, "divergence": divergence}
    agree(found, student, *truth(student, teacher, weight, labels, **options))


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_bias_scale_and_soft_cap_are_part_of_the_loss(divergence):
    student, teacher, weight, labels = problem()
    bias = torch.randn(len(weight), dtype=torch.float64)
    head = Head(weight, bias=bias, scale=0.4, softcap=3.0)
    found = distillation_loss(
        student,
        head,
        labels,
        teacher,
        kd(divergence=divergence),
    )
    agree(found, student, *truth(student, teacher, head, labels, divergence=divergence))


def test_a_scaled_head_keeps_the_one_pass():
    student, teacher, weight, labels = problem()
    head = Head(weight, scale=0.25)
    left = TeacherTargets.from_states(teacher, head, temperature=2.0)
    found = distillation_loss(student, head, labels, left, kd())
    agree(found, student, *truth(student, teacher, head, labels))


def test_a_bent_head_never_takes_the_one_pass():
    student, teacher, weight, labels = problem()
    head = Head(weight, softcap=3.0)
    left = TeacherTargets.from_states(teacher, head, temperature=2.0)
    found = distillation_loss(student, head, labels, teacher, kd())
    agree(found, student, *truth(student, teacher, head, labels))
    with pytest.raises(ConfigError, match=r"soft cap.*give the teacher's states"):
        distillation_loss(student, head, labels, left, kd())


@pytest.mark.parametrize("path", ["one pass", "general"])
def test_positions_are_weighted_and_those_without_label_or_weight_are_not_computed(path):
    student, teacher, weight, labels = problem()
    labels[3] = -1
    weights = torch.rand(len(labels), dtype=torch.float64)
    weights[5:9] = 0.0
    left = TeacherTargets.from_states(teacher, weight, temperature=2.0)
    terms, gradient = truth(student, teacher, weight, labels, position_weights=weights)
    with torch.no_grad():
        student[5:9] = torch.nan  # a product with them would poison the sums
        teacher[5:9] = torch.nan
    side = left if path == "one pass" else teacher
    found = distillation_loss(student, weight, labels, side, kd(), position_weights=weights)
    agree(found, student, terms, gradient)


def test_parts_of_a_step_with_the_whole_step_s_weight_add_up_to_it():
    student, teacher, weight, labels = problem()
    weights = torch.rand(len(labels))
    whole, gradient = truth(student, teacher, weight, labels, position_weights=weights.double())
    parts = [
        distillation_loss(
            student[rows],
            weight,
            labels[rows],
            teacher[rows],
            kd(),
            position_weights=weights[rows],
            total_weight=float(weights.sum()),
        )
        for rows in (slice(0, 11), slice(11, 37))
    ]
    loss = parts[0].loss + parts[1].loss
    torch.testing.assert_close(loss, whole["loss"], atol=1e-6, rtol=0)
    (here,) = torch.autograd.grad(loss, student)
    torch.testing.assert_close(here, gradient, atol=1e-9, rtol=1e-6)


def test_no_scored_position_gives_zero_and_not_nan():
    student, teacher, weight, labels = problem()
    found = distillation_loss(student, weight, labels * 0 - 1, teacher, kd())
    (gradient,) = torch.autograd.grad(found.loss, student)
    assert found.loss.item() == 0.0
    assert not gradient.any()


def test_chunks_and_blocks_of_any_size_give_the_same(monkeypatch):
    student, teacher, weight, labels = problem()

    def run(divergence):
        found = distillation_loss(
            student,
            weight,
            labels,
            teacher,
            kd(divergence=divergence),
        )
        return torch.autograd.grad(found.loss, student)[0]

    whole = [run(divergence) for divergence in DIVERGENCES]
    monkeypatch.setitem(logits._CHUNK_LOGITS, "cpu", 101 * 9)
    monkeypatch.setitem(logits._BLOCK_BYTES, "cpu", 4 * 101 * 2)
    for divergence, before in zip(DIVERGENCES, whole, strict=True):
        torch.testing.assert_close(run(divergence), before, atol=1e-14, rtol=1e-11)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_what_a_step_before_left_in_the_buffers_changes_nothing(divergence):
    buffers = Buffers()
    for n in (37, 12, 50):  # fewer rows, then more; what lies beyond them is another step's
        student, teacher, weight, labels = problem(n=n)
        found = distillation_loss(
            student,
            weight,
            labels,
            teacher,
            kd(divergence=divergence),
            buffers=buffers,
        )
        agree(found, student, *truth(student, teacher, weight, labels, divergence=divergence))
        for name in ("student", "teacher"):
            buffers.rows(name, n, weight).fill_(torch.nan)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_logits_far_apart_stay_finite(divergence):
    # Each row's peak is taken off first: exp(300) and log(0) would be inf in float32.
    student, teacher, weight, labels = problem(torch.float32)
    found = distillation_loss(
        student,
        weight * 30.0,
        labels,
        teacher,
        kd(1.0, divergence=divergence),
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
    left = TeacherTargets.from_states(teacher.bfloat16(), low, temperature=2.0)
    half = replace(left, expected=left.expected.half())
    side = half if divergence == "forward_kl" else teacher.half()
    states = student.detach().float().requires_grad_()
    found = distillation_loss(states, low, labels, side, kd(divergence=divergence))
    (here,) = torch.autograd.grad(found.loss, states)
    assert found.ce.item() == pytest.approx(terms["ce"].item(), rel=0.01)
    assert found.kl.item() == pytest.approx(terms["kl"].item(), rel=0.02, abs=2e-3)
    assert float((here - gradient).norm() / gradient.norm()) < 0.02


def test_the_kl_of_a_student_equal_to_the_teacher_is_zero():
    _, teacher, weight, labels = problem()
    targets = TeacherTargets.from_states(teacher, weight, temperature=2.0)
    walk = logits.Walk(Head(weight), len(labels), 2.0, 0.7, False)
    scores = score_vocabulary(walk, teacher, labels, targets)
    assert float(scores.kl.abs().max()) < 1e-12
    assert scores.predicted.tolist() == targets.predicted.tolist()


def test_scores_and_gradient_of_each_position_are_those_of_full_logits():
    student, teacher, weight, labels = problem()
    left = TeacherTargets.from_states(teacher, weight, temperature=2.0)
    walk = logits.Walk(Head(weight), len(labels), 2.0, 0.7, False)
    terms, expected = truth(student, teacher, weight, labels)
    ce, kl, gradient = vocabulary_gradient(walk, student, labels, left)
    torch.testing.assert_close(gradient / len(labels), expected, atol=1e-14, rtol=1e-10)
    scores = score_vocabulary(walk, student, labels, left)
    for mean in (ce.mean(), scores.ce.mean()):
        torch.testing.assert_close(mean, terms["ce"].detach(), atol=1e-12, rtol=0)
    for mean in (kl.mean(), scores.kl.mean()):
        torch.testing.assert_close(mean, terms["kl"].detach(), atol=1e-12, rtol=0)


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
    found = distillation_loss(
        student,
        weight,
        labels,
        teacher,
        kd(divergence=divergence, compiled=True),
    )
    kernel.cache_clear()
    agree(found, student, *truth(student, teacher, weight, labels, divergence=divergence))
    assert shapes == {(4, 101)}  # 37 positions: chunks of 16, 16 and 5, all in blocks of 4
