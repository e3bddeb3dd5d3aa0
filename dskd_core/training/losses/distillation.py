"""L_KD (Eq. 3 of arXiv:2602.22351): CE to the next token and a divergence from the teacher.

    L_KD = w CE(student, x_(t+1)) + alpha T^2 D(teacher_T || student_T)

with w = 1 in the paper. Both from one pass over the vocabulary, see vocabulary.py.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dskd_core.decoder.head import Head, as_head
from dskd_core.errors import ConfigError
from dskd_core.training.losses.kernels import Divergence, sums_dtype
from dskd_core.training.losses.logits import Buffers, Walk
from dskd_core.training.losses.targets import (
    TeacherSide,
    TeacherStates,
    TeacherTargets,
    targets_suffice,
)
from dskd_core.training.losses.vocabulary import vocabulary_gradient


@dataclass(frozen=True)
class Distillation:
    """How a student is held to its teacher's distribution.

    Attributes:
        temperature: T of the divergence; CE is at 1.
        kl_weight: alpha.
        divergence: D: KL(p || q) of teacher p and student q, its reverse, or Jensen-Shannon.
        compiled: whether the element-wise part is compiled (see kernels.py).
        ce_weight: w.
    """

    temperature: float
    kl_weight: float
    divergence: Divergence = "forward_kl"
    compiled: bool = False
    ce_weight: float = 1.0


@dataclass(frozen=True)
class DistillationLoss:
    """L_KD: ``loss`` to go backward from; CE, divergence and norm for the log.

    Attributes:
        loss: sum of w_i (w CE_i + alpha T^2 D_i) over ``total_weight``.
        ce: sum of w_i CE_i over ``total_weight``, detached.
        kl: likewise of D_i, without its factor alpha T^2.
        gradient_norm: norm of d loss / d n_t over all positions.
    """

    loss: Tensor
    ce: Tensor
    kl: Tensor
    gradient_norm: Tensor


def distillation_loss(
    student_states: Tensor,
    head: Tensor | Head,
    labels: Tensor,
    teacher: Tensor | TeacherTargets,
    settings: Distillation,
    *,
    position_weights: Tensor | None = None,
    total_weight: float | None = None,
    scored: Tensor | None = None,
    buffers: Buffers | None = None,
) -> DistillationLoss:
    """Return w CE + alpha T^2 D over positions (Eq. 3), differentiable in the student's states.

    Args:
        student_states: [n, d], n_t, of any float dtype.
        head: [V, d], frozen, of both; products run in its dtype.
        labels: [n] int64, the next tokens; below 0 a position has none and is left out.
        teacher: its states m_t, [n, d], or what they left behind at the same T, which spares a
            product but gives the forward KL of a plain head alone.
        settings: T, w, alpha and D.
        position_weights: [n], w_i; 1 if None. Positions of weight 0 are not computed.
        total_weight: what the sum is divided by; the sum of the weights of the labelled positions
            if None. Given where a step is cut into batches or ranks, whose losses then add up.
        scored: [m] int64, the labelled positions of a weight above 0, where the caller knows them
            and ``total_weight``: then nothing here waits for a GPU.
        buffers: kept from step to step, where there are many.

    Raises:
        ConfigError: if what the teacher left behind cannot give the divergence asked for.
    """
    head = as_head(head)
    given = torch.ones_like(labels) if position_weights is None else position_weights
    weights = given.to(sums_dtype(head.weight)) * (labels >= 0)
    total = float(weights.sum()) if total_weight is None else total_weight
    kept = torch.nonzero(weights)[:, 0] if scored is None else scored
    walk = Walk(
        *(head, len(kept), settings.temperature, settings.kl_weight, settings.compiled),
        buffers,
        ce_weight=settings.ce_weight,
    )
    weights, side = weights[kept] / max(total, 1e-12), _side(teacher, head, settings.divergence)
    loss, ce, kl, norm = _Distillation.apply(  # type: ignore[no-untyped-call]
        student_states, walk, labels[kept], side.at(kept), weights, kept
    )
    return DistillationLoss(loss, ce, kl, norm)


def _side(teacher: Tensor | TeacherTargets, head: Head, divergence: Divergence) -> TeacherSide:
    if isinstance(teacher, Tensor):
        return TeacherStates(teacher, divergence)
    if targets_suffice(head, divergence):
        return teacher
    bent = "" if head.is_linear else " of a head with a bias or a soft cap"
    raise ConfigError(
        f"The {divergence}{bent} cannot be formed from TeacherTargets; give the teacher's states."
    )


class _Distillation(torch.autograd.Function):
    """The weighted sum over positions, its gradient formed on the way forward."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        student_states: Tensor,
        walk: Walk,
        labels: Tensor,
        teacher: TeacherSide,
        weights: Tensor,
        kept: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return (loss, CE, D, norm of the gradient); only the loss is differentiable."""
        each_ce, each_kl, gradient = vocabulary_gradient(
            walk, student_states[kept], labels, teacher
        )
        gradient = gradient * weights[:, None]
        ce, kl, norm = (weights * each_ce).sum(), (weights * each_kl).sum(), gradient.norm()
        whole = student_states.new_zeros(student_states.shape)
        ctx.save_for_backward(whole.index_copy_(0, kept, gradient.to(whole.dtype)))
        ctx.mark_non_differentiable(ce, kl, norm)
        return walk.ce_weight * ce + walk.kl_weight * walk.temperature**2 * kl, ce, kl, norm

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Scale the gradient that forward kept."""
        (gradient,) = ctx.saved_tensors
        return (gradient * outer[0], None, None, None, None, None)
