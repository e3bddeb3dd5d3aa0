"""Everything that touches the vocabulary, in chunks of positions.

With the student's head frozen and equal to the teacher's, W, the teacher's whole distribution
enters the KL only through e_t = W^T p_t, p_t = softmax(W m_t / T), and its entropy:

    KL(p_t || q_t) = -H(p_t) - n_t . e_t / T + logsumexp(W n_t / T)
    d KL / d n_t   = (W^T q_t - e_t) / T

Exact, and verified in tests against full logits. It holds for the forward KL and a head without
bias or soft cap. Every other divergence or head takes the general path: the teacher's logits are
formed again from its states, chunk by chunk, beside the student's.

What costs what, in products of (positions x d) with (d x V): two with e_t (the student's logits,
and W^T times the mixed gradient of CE and divergence), three without. Never held: (positions x V)
of more than a chunk, and that in the head's dtype; a gradient of W. Softmax and sums are float32.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dskd_core.embeddings.head import Head, as_head
from dskd_core.errors import ConfigError
from dskd_core.training.kernels import (
    Divergence,
    Kernel,
    kernel,
    paired,
    settings,
    single,
    teaching,
)

_CHUNK_BYTES = {"cpu": 128 << 20, "cuda": 512 << 20}
"""Logits of a chunk: every chunk reads all of W again, so a small one is bound by memory."""
_BLOCK_BYTES = {"cpu": 8 << 20, "cuda": 1 << 30}
_MOST_ROWS = 4096


class Buffers:
    """Memory of logits, kept from one step to the next.

    A fresh block of this size would be zeroed, and come from the system page by page, every time.
    """

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}

    def rows(self, name: str, n: int, weight: Tensor) -> Tensor:
        """Return n rows of V values of the head's dtype: whatever a step before has left there."""
        kept = self._kept.get(name)
        fits = kept is not None and (kept.dtype, kept.device, kept.shape[1]) == (
            weight.dtype,
            weight.device,
            len(weight),
        )
        if kept is None or not fits or len(kept) < n:
            with torch.inference_mode(False):
                kept = weight.new_zeros(n, len(weight))
            self._kept[name] = kept
        return kept[:n]


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
def teacher_targets(
    states: Tensor, head: Tensor | Head, *, temperature: float, compiled: bool = False
) -> TeacherTargets:
    """Return e_t, the entropy and the argmax of the teacher at each position.

    Args:
        states: [n, d], final states m_t.
        head: [V, d]; products run in its dtype, softmax and sums in float32 or wider.
        temperature: T.
        compiled: whether the element-wise part is compiled.
    """
    walk = _Walk(as_head(head), len(states), temperature, 0.0, compiled)
    teach = kernel(teaching, compiled=compiled, softcapped=walk.head.softcap is not None)
    expected, entropy, predicted = [], [], []
    for rows in walk.chunks():
        logits = walk.logits(states[rows])
        predicted.append(logits.max(dim=1).indices)
        entropy.append(walk.apply(teach, len(logits), walk.buffer)[0])
        expected.append(_wide(logits @ walk.head.weight))
    return TeacherTargets(torch.cat(expected), torch.cat(entropy), torch.cat(predicted))


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
    """
    walk = _Walk(as_head(head), len(states), temperature, kl_weight or 0.0, compiled)
    teacher = _teacher_side(walk.head, expected, entropy, teacher_states, "forward_kl")
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
    teacher = _teacher_side(head, expected, entropy, teacher_states, divergence)
    weights = (
        torch.ones_like(labels, dtype=_sums(head))
        if position_weights is None
        else (position_weights.to(_sums(head)))
    )
    weights = weights * (labels >= 0)
    total = float(weights.sum()) if total_weight is None else total_weight
    kept = torch.nonzero(weights)[:, 0]
    walk = _Walk(head, len(kept), temperature, kl_weight, compiled, buffers)
    loss, ce, kl, norm = _KdLoss.apply(  # type: ignore[no-untyped-call]
        states, walk, labels[kept], teacher.at(kept), weights[kept] / max(total, 1e-12), kept
    )
    return KdLoss(loss, ce, kl, norm)


def _teacher_side(
    head: Head,
    expected: Tensor | None,
    entropy: Tensor | None,
    states: Tensor | None,
    divergence: Divergence,
) -> "_LeftBehind | _FromStates":
    """Return the cheaper of what is given that is exact."""
    exact = divergence == "forward_kl" and head.is_linear
    if exact and expected is not None and entropy is not None:
        return _LeftBehind(expected, entropy)
    if states is None:
        bent = "" if head.is_linear else " of a head with a bias or a soft cap"
        raise ConfigError(
            f"The {divergence}{bent} cannot be formed from what is given; give teacher_states "
            "(or, for the forward KL of a plain head, expected and entropy)."
        )
    return _FromStates(states, divergence)


class _KdLoss(torch.autograd.Function):
    """The weighted sum over positions, its gradient formed on the way forward."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        states: Tensor,
        walk: "_Walk",
        labels: Tensor,
        teacher: "_LeftBehind | _FromStates",
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


@dataclass(frozen=True)
class _LeftBehind:
    """The teacher's side as e_t and entropy: nothing of it is left to compute."""

    expected: Tensor
    entropy: Tensor

    def at(self, rows: Tensor) -> "_LeftBehind":
        """Return some positions."""
        return _LeftBehind(self.expected[rows], self.entropy[rows])

    def measure(
        self, walk: "_Walk", rows: slice, states: Tensor, gradient: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return logsumexp, KL and the e_t that the gradient of a chunk still lacks."""
        one = kernel(
            single, compiled=walk.compiled, squared=walk.temperature == 2.0, gradient=gradient
        )
        log_z, log_z_soft = walk.apply(one, len(states), walk.buffer)
        expected = _wide(self.expected[rows])
        drawn = (_wide(walk.enter(states)) * expected).sum(dim=1) / walk.temperature
        return log_z, log_z_soft - self.entropy[rows] - drawn, expected


@dataclass(frozen=True)
class _FromStates:
    """The teacher's side as m_t: its logits are formed again, whatever the divergence."""

    states: Tensor
    divergence: Divergence

    def at(self, rows: Tensor) -> "_FromStates":
        """Return some positions."""
        return _FromStates(self.states[rows], self.divergence)

    def measure(
        self, walk: "_Walk", rows: slice, states: Tensor, gradient: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return logsumexp and divergence of a chunk; the gradient in its logits is whole."""
        both = kernel(
            paired,
            compiled=walk.compiled,
            divergence=self.divergence,
            softcapped=walk.head.softcap is not None,
            gradient=gradient,
        )
        walk.logits(self.states[rows], walk.second)
        log_z, distance = walk.apply(both, len(states), walk.buffer, walk.second)
        return log_z, distance, None


class _Walk:
    """Chunks of positions through one buffer of logits, and blocks of it through a kernel."""

    def __init__(
        self,
        head: Head,
        n: int,
        temperature: float,
        kl_weight: float,
        compiled: bool,
        buffers: Buffers | None = None,
    ) -> None:
        self.head, self.n, self.compiled = head, n, compiled
        self.temperature, self.kl_weight = temperature, kl_weight
        weight = head.weight
        device = weight.device.type
        n_tokens = len(weight)
        self.chunk = _power_of_two(
            _CHUNK_BYTES.get(device, 512 << 20), weight.element_size() * n_tokens
        )
        self.block = min(self.chunk, _power_of_two(_BLOCK_BYTES.get(device, 1 << 30), 4 * n_tokens))
        used = min(self.chunk, -(-n // self.block) * self.block)
        self._buffers = buffers or Buffers()
        self.buffer = self._buffers.rows("student", used, weight)
        self.settings = settings(temperature, kl_weight, head.softcap, like=weight)

    @property
    def second(self) -> Tensor:
        """The buffer of the teacher's logits, made when first needed."""
        return self._buffers.rows("teacher", len(self.buffer), self.head.weight)

    def chunks(self) -> Iterator[slice]:
        """Yield the positions of each chunk."""
        for start in range(0, self.n, self.chunk):
            yield slice(start, min(self.n, start + self.chunk))

    def enter(self, states: Tensor) -> Tensor:
        """Return states as the product takes them: scaled, in the head's dtype."""
        scaled = states if self.head.scale == 1.0 else self.head.scale * _wide(states)
        return scaled.to(self.head.weight.dtype)

    def logits(self, states: Tensor, buffer: Tensor | None = None) -> Tensor:
        """Return the logits of a chunk (before any soft cap), a view of the buffer."""
        out = (self.buffer if buffer is None else buffer)[: len(states)]
        entered, transposed = self.enter(states), self.head.weight.T
        if self.head.bias is None:
            return torch.mm(entered, transposed, out=out)
        return torch.addmm(self.head.bias, entered, transposed, out=out)

    def apply(self, run: Kernel, n: int, *buffers: Tensor) -> tuple[Tensor, ...]:
        """Run a kernel over the first n rows of the buffers, in blocks of one shape if compiled.

        What lies beyond n in the last block is computed and dropped.
        """
        parts = []
        for start in range(0, n, self.block):
            stop = start + self.block if self.compiled else min(n, start + self.block)
            parts.append(run(*(buffer[start:stop] for buffer in buffers), self.settings))
        return tuple(torch.cat(column)[:n] for column in zip(*parts, strict=True))


@torch.no_grad()
def _scores(
    walk: _Walk,
    states: Tensor,
    labels: Tensor,
    teacher: _LeftBehind | _FromStates,
    *,
    gradient: bool,
    predict: bool = False,
) -> HeadScores:
    """Return CE and divergence of each position, and the gradient of CE + alpha T^2 D."""
    ce, kl = (_wide(states).new_zeros(walk.n) for _ in range(2))
    predicted = labels.new_zeros(walk.n) if predict else None
    slopes = _wide(states).new_zeros(states.shape) if gradient else None
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
            slopes[rows] -= label_slope * _wide(weight[label])
            if pull is not None:
                slopes[rows] -= walk.kl_weight * walk.temperature * pull
            if walk.head.scale != 1.0:
                slopes[rows] *= walk.head.scale
    return HeadScores(ce, kl, predicted, slopes)


def _bent(logits: Tensor, softcap: float | None) -> tuple[Tensor, Tensor]:
    """Return z = c tanh(logits / c) and its slope 1 - (z / c)^2; logits and 1 without a cap."""
    wide = _wide(logits)
    if softcap is None:
        return wide, torch.ones_like(wide)
    bent = (wide / softcap).tanh()
    return softcap * bent, 1.0 - bent.square()


def _power_of_two(budget: int, row_bytes: int) -> int:
    """Return the largest power of two of rows within a budget, between 1 and _MOST_ROWS."""
    rows = int(min(_MOST_ROWS, max(1, budget // row_bytes)))
    return 1 << (rows.bit_length() - 1)


def _sums(head: Head) -> torch.dtype:
    return torch.float64 if head.weight.dtype == torch.float64 else torch.float32


def _wide(values: Tensor) -> Tensor:
    """Return values in float32, or as they are if wider."""
    return values.double() if values.dtype == torch.float64 else values.float()
