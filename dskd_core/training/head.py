"""Everything that touches the vocabulary, in one pass and in chunks of positions.

With the student's head frozen and equal to the teacher's, W, the teacher's whole distribution
enters the KL only through e_t = W^T p_t, p_t = softmax(W m_t / T), and its entropy:

    KL(p_t || q_t) = -H(p_t) - n_t . e_t / T + logsumexp(W n_t / T)
    d KL / d n_t   = (W^T q_t - e_t) / T

so (positions x vocabulary) is never held in float32, teacher logits are formed once at capture,
and CE and KL share the student's single pass. Exact; verified in tests against full logits.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_CHUNK_BYTES = 32 << 20
_BLOCK_BYTES = 2 << 20


@dataclass(frozen=True)
class TeacherTargets:
    """What the teacher's distribution at temperature T leaves behind, per position.

    Attributes:
        expected: [n, d] e_t = W^T p_t.
        entropy: [n] float32, H(p_t) in nats.
        predicted: [n] int64, argmax of the teacher's logits.
    """

    expected: Tensor
    entropy: Tensor
    predicted: Tensor


@torch.no_grad()
def teacher_targets(states: Tensor, head: Tensor, *, temperature: float) -> TeacherTargets:
    """Return e_t, the entropy and the argmax of the teacher at each position.

    Args:
        states: [n, d], final states m_t.
        head: [V, d]; products run in its dtype, softmax and sums in float32 or wider.
        temperature: T.
    """
    expected, entropy, predicted = [], [], []
    for chunk in _chunks(states, head):
        logits = chunk @ head.T
        predicted.append(logits.max(dim=1).indices)
        for block in _blocks(logits):
            log_p = torch.log_softmax(_wide(logits[block]) / temperature, dim=1)
            p = log_p.exp()
            entropy.append(-(p * log_p).sum(dim=1))
            logits[block] = p.to(logits.dtype)
        expected.append(_wide(logits @ head))
    return TeacherTargets(torch.cat(expected), torch.cat(entropy), torch.cat(predicted))


@dataclass(frozen=True)
class HeadScores:
    """CE and KL of every position (nats), the student's argmax, and optionally d loss / d n_t."""

    ce: Tensor
    kl: Tensor
    predicted: Tensor
    gradient: Tensor | None


@torch.no_grad()
def head_pass(
    states: Tensor,
    head: Tensor,
    labels: Tensor,
    expected: Tensor,
    entropy: Tensor,
    *,
    temperature: float,
    kl_weight: float | None = None,
) -> HeadScores:
    """Return CE and KL of each position in one pass over the vocabulary.

    Args:
        states: [n, d], student states n_t.
        head: [V, d], frozen.
        labels: [n] int64.
        expected: [n, d], the teacher's e_t.
        entropy: [n], the teacher's H(p_t).
        temperature: T.
        kl_weight: alpha; when given, ``gradient`` is d(CE + alpha T^2 KL)/d n_t at each position
            (not yet divided by n), else None.
    """
    ce, kl, predicted, gradients = [], [], [], []
    start = 0
    for chunk in _chunks(states, head):
        rows = slice(start, start + len(chunk))
        start = rows.stop
        logits = chunk @ head.T
        label_logit = _wide(logits.gather(1, labels[rows, None])[:, 0])
        predicted.append(logits.max(dim=1).indices)
        log_z, log_z_soft = [], []
        for block in _blocks(logits):
            z, z_soft, mixed = _normalisers(_wide(logits[block]), temperature, kl_weight)
            log_z.append(z)
            log_z_soft.append(z_soft)
            if mixed is not None:
                logits[block] = mixed.to(logits.dtype)
        e, n = _wide(expected[rows]), _wide(states[rows])
        ce.append(torch.cat(log_z) - label_logit)
        kl.append(torch.cat(log_z_soft) - entropy[rows] - (n * e).sum(dim=1) / temperature)
        if kl_weight is not None:
            own = _wide(head[labels[rows]])
            gradients.append(_wide(logits @ head) - own - kl_weight * temperature * e)
    gradient = torch.cat(gradients) if gradients else None
    return HeadScores(torch.cat(ce), torch.cat(kl), torch.cat(predicted), gradient)


class HeadLoss(torch.autograd.Function):
    """Mean over positions of CE + alpha T^2 KL, its gradient formed on the way forward."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        states: Tensor,
        head: Tensor,
        labels: Tensor,
        expected: Tensor,
        entropy: Tensor,
        temperature: float,
        kl_weight: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return (loss, CE, KL): means over positions; only the loss is differentiable."""
        scores = head_pass(
            states,
            head,
            labels,
            expected,
            entropy,
            temperature=temperature,
            kl_weight=kl_weight,
        )
        ce, kl = scores.ce.mean(), scores.kl.mean()
        assert scores.gradient is not None
        ctx.save_for_backward((scores.gradient / len(states)).to(states.dtype))
        ctx.mark_non_differentiable(ce, kl)
        return ce + kl_weight * temperature**2 * kl, ce, kl

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Scale the gradient that forward kept."""
        (gradient,) = ctx.saved_tensors
        return (gradient * outer[0], None, None, None, None, None, None)


def _normalisers(
    logits: Tensor, temperature: float, kl_weight: float | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return logsumexp at 1 and at T, and softmax(z) + alpha T softmax(z / T) for the gradient.

    At T = 2, as in the paper, exp(z) is the square of exp(z / 2): one exponential serves both.
    """
    peak = logits.amax(dim=1, keepdim=True)
    soft = logits.sub_(peak).div(temperature).exp_()
    sharp = soft.square() if temperature == 2.0 else logits.exp_()
    sum_sharp, sum_soft = sharp.sum(dim=1, keepdim=True), soft.sum(dim=1, keepdim=True)
    mixed = None
    if kl_weight is not None:
        mixed = sharp.div_(sum_sharp).addcdiv_(
            soft, sum_soft.expand_as(soft), value=kl_weight * temperature
        )
    log_z = (sum_sharp.log() + peak)[:, 0]
    return log_z, (sum_soft.log() + peak / temperature)[:, 0], mixed


def _chunks(states: Tensor, head: Tensor) -> Iterator[Tensor]:
    """Yield positions in chunks whose logits take about 32 MiB, in the head's dtype."""
    rows = max(1, _CHUNK_BYTES // (head.element_size() * len(head)))
    for chunk in torch.split(states, rows):
        yield chunk.to(head.dtype)


def _blocks(logits: Tensor) -> Iterator[slice]:
    """Yield rows in blocks that stay in cache while softmax passes over them several times."""
    on_cpu = logits.device.type == "cpu"
    rows = max(1, _BLOCK_BYTES // (4 * logits.shape[1])) if on_cpu else len(logits)
    for start in range(0, len(logits), rows):
        yield slice(start, start + rows)


def _wide(values: Tensor) -> Tensor:
    """Return values in float32, or as they are if wider (they may then be overwritten)."""
    return values.double() if values.dtype == torch.float64 else values.float()
