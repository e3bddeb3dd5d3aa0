"""CE and divergence over the vocabulary, and their gradient, in chunks of positions.

With the student's head frozen and equal to the teacher's, W, the teacher's whole distribution
enters the KL only through e_t = W^T p_t, p_t = softmax(W m_t / T), and its entropy:

    KL(p_t || q_t) = -H(p_t) - n_t . e_t / T + logsumexp(W n_t / T)
    d KL / d n_t   = (W^T q_t - e_t) / T

Exact, and verified in tests against full logits. It holds for the forward KL and a head without
bias or soft cap. Every other divergence or head takes the general path: the teacher's logits are
formed again from its states, chunk by chunk, beside the student's (targets.py has both sides,
logits.py the chunks).

What costs what, in products of (positions x d) with (d x V): two with e_t (the student's logits,
and W^T times the mixed gradient of CE and divergence), three without. Never held: (positions x V)
of more than a chunk, and that in the head's dtype; a gradient of W. Softmax and sums are float32.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dskd_core.decoder.head import Head, as_head
from dskd_core.training.losses.kernels import Divergence, sums_dtype
from dskd_core.training.losses.logits import Buffers, Walk, wide
from dskd_core.training.losses.targets import TeacherSide, teacher_side


@dataclass(frozen=True)
class HeadScores:
    """Each position's CE and divergence (nats), and if asked for its argmax and gradient."""

    ce: Tensor
    kl: Tensor
    predicted: Tensor | None
    gradient: Tensor | None


def head_pass(
    states: Tensor,
    head: Tensor | Head,
    labels: Tensor,
    expected: Tensor,
    entropy: Tensor,
    *,
    temperature: float,
    teacher_states: Tensor | None = None,
    kl_weight: float | None = None,
    compiled: bool = False,
    buffers: Buffers | None = None,
) -> HeadScores:
    """Return CE, KL and the argmax of each position in one pass over the vocabulary.

    Args:
        states: [n, d], student states n_t.
        head: [V, d], frozen.
        labels: [n] int64.
        expected: [n, d], the teacher's e_t.
        entropy: [n], the teacher's H(p_t).
        temperature: T.
        teacher_states: [n, d], m_t, from which a head with a bias or a soft cap forms the KL.
        kl_weight: alpha; when given, ``gradient`` is d(CE + alpha T^2 KL)/d n_t at each position
            (not yet divided by n), else None.
        compiled: whether the element-wise part is compiled.
        buffers: kept from call to call, where there are many.
    """
    walk = Walk(as_head(head), len(states), temperature, kl_weight or 0.0, compiled, buffers)
    teacher = teacher_side(walk.head, expected, entropy, teacher_states, "forward_kl")
    return _scores(walk, states, labels, teacher, gradient=kl_weight is not None, predict=True)


@dataclass(frozen=True)
class KdLoss:
    """L_KD of Eq. 3: ``loss`` to go backward from; CE, divergence and norm for the log.

    Attributes:
        loss: sum of w_i (CE_i + alpha T^2 D_i) over ``total_weight``.
        ce: sum of w_i CE_i over ``total_weight``, detached.
        kl: likewise of D_i, without its factor alpha T^2.
        gradient_norm: norm of d loss / d n_t over all positions.
    """

    loss: Tensor
    ce: Tensor
    kl: Tensor
    gradient_norm: Tensor


def kd_loss(
    states: Tensor,
    head: Tensor | Head,
    labels: Tensor,
    *,
    temperature: float,
    kl_weight: float,
    expected: Tensor | None = None,
    entropy: Tensor | None = None,
    teacher_states: Tensor | None = None,
    position_weights: Tensor | None = None,
    total_weight: float | None = None,
    divergence: Divergence = "forward_kl",
    compiled: bool = False,
    buffers: Buffers | None = None,
) -> KdLoss:
    """Return CE + alpha T^2 D over positions (Eq. 3), differentiable in the states.

    Args:
        states: [n, d], student states n_t, of any float dtype.
        head: [V, d], frozen; products run in its dtype.
        labels: [n] int64, the next tokens; below 0 a position has none and is left out.
        temperature: T of the divergence; CE is at 1.
        kl_weight: alpha.
        expected: [n, d], the teacher's e_t at T; with it the forward KL needs no teacher logits.
        entropy: [n], the teacher's H(p_t) at T.
        teacher_states: [n, d], m_t, where ``expected`` is not given or does not suffice.
        position_weights: [n], w_i; 1 if None. Positions of weight 0 are not computed.
        total_weight: what the sum is divided by; the sum of the weights of the labelled positions
            if None. Given where a step is cut into batches or ranks, whose losses then add up.
        divergence: D: KL(p || q) of teacher p and student q, its reverse, or Jensen-Shannon.
        compiled: whether the element-wise part is compiled (see kernels.py).
        buffers: kept from step to step, where there are many.

    Raises:
        ConfigError: if neither e_t with its entropy nor m_t can give the divergence asked for.
    """
    head = as_head(head)
    teacher = teacher_side(head, expected, entropy, teacher_states, divergence)
    given = torch.ones_like(labels) if position_weights is None else position_weights
    weights = given.to(sums_dtype(head.weight)) * (labels >= 0)
    total = float(weights.sum()) if total_weight is None else total_weight
    kept = torch.nonzero(weights)[:, 0]
    walk = Walk(head, len(kept), temperature, kl_weight, compiled, buffers)
    loss, ce, kl, norm = _KdLoss.apply(  # type: ignore[no-untyped-call]
        states, walk, labels[kept], teacher.at(kept), weights[kept] / max(total, 1e-12), kept
    )
    return KdLoss(loss, ce, kl, norm)


class _KdLoss(torch.autograd.Function):
    """The weighted sum over positions, its gradient formed on the way forward."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        states: Tensor,
        walk: Walk,
        labels: Tensor,
        teacher: TeacherSide,
        shares: Tensor,
        kept: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return (loss, CE, D, norm of the gradient); only the loss is differentiable."""
        scores = _scores(walk, states[kept], labels, teacher, gradient=True)
        assert scores.gradient is not None
        gradient = scores.gradient * shares[:, None]
        ce, kl, norm = (shares * scores.ce).sum(), (shares * scores.kl).sum(), gradient.norm()
        ctx.save_for_backward(
            states.new_zeros(states.shape).index_copy_(0, kept, gradient.to(states.dtype))
        )
        ctx.mark_non_differentiable(ce, kl, norm)
        return ce + walk.kl_weight * walk.temperature**2 * kl, ce, kl, norm

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Scale the gradient that forward kept."""
        (gradient,) = ctx.saved_tensors
        return (gradient * outer[0], None, None, None, None, None)


@torch.no_grad()
def _scores(
    walk: Walk,
    states: Tensor,
    labels: Tensor,
    teacher: TeacherSide,
    *,
    gradient: bool,
    predict: bool = False,
) -> HeadScores:
    """Return CE and divergence of each position, and the gradient of CE + alpha T^2 D."""
    ce, kl = (wide(states).new_zeros(walk.n) for _ in range(2))
    predicted = labels.new_zeros(walk.n) if predict else None
    slopes = wide(states).new_zeros(states.shape) if gradient else None
    weight = walk.head.weight
    for rows in walk.chunks():
        logits, label = walk.logits(states[rows]), labels[rows]
        label_logit, label_slope = _bent(logits.gather(1, label[:, None]), walk.head.softcap)
        if predicted is not None:
            predicted[rows] = logits.max(dim=1).indices
        log_z, kl[rows], pull = teacher.measure(walk, rows, states[rows], gradient)
        ce[rows] = log_z - label_logit[:, 0]
        if slopes is not None:
            slopes[rows] = logits @ weight
            slopes[rows] -= label_slope * wide(weight[label])
            if pull is not None:
                slopes[rows] -= walk.kl_weight * walk.temperature * pull
            if walk.head.scale != 1.0:
                slopes[rows] *= walk.head.scale
    return HeadScores(ce, kl, predicted, slopes)


def _bent(logits: Tensor, softcap: float | None) -> tuple[Tensor, Tensor]:
    """Return z = c tanh(logits / c) and its slope 1 - (z / c)^2; logits and 1 without a cap."""
    plain = wide(logits)
    if softcap is None:
        return plain, torch.ones_like(plain)
    bent = (plain / softcap).tanh()
    return softcap * bent, 1.0 - bent.square()
