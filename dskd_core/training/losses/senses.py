"""L_sem (Eq. 4-5) in bulk: two gathers, no graph, no loop over positions.

    positive = mean_t mean_{p in P_t} MSE(n_t, p)
    negative = mean_t mean_{a in A_t} max(0, gamma - MSE(n_t, a))

The mean over positives needs no more than their mean row c_t:

    mean_p MSE(n, p) = MSE(n, c) + mean_p MSE(p, c),   gradient 2 (n - c) / d

and the hinge touches only the positions that have negatives. Exact in the dtype of the sums
(float32, float64 where the states are). Cost: reading kappa rows a position, a block of positions
at a time so that what is gathered stays in cache; kept for backward are [n, d] of gradients.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class SenseTerms:
    """The terms of L_sem before their weights, means over the chosen positions.

    Attributes:
        positive: mean over positions and positives of MSE(n_t, p).
        negative: mean over positions of the mean hinge over negatives; 0 where there are none.
        n_active: (position, negative) pairs inside the margin.
        n_negatives: all such pairs, 0 without a hinge.
        positive_norm: norm of d positive / d n_t over all positions.
        negative_norm: norm of d negative / d n_t over all positions.
    """

    positive: Tensor
    negative: Tensor
    n_active: Tensor
    n_negatives: Tensor
    positive_norm: Tensor
    negative_norm: Tensor

    @property
    def active_share(self) -> Tensor:
        """Share of the pairs that is inside the margin; 0 where there are none."""
        return self.n_active / self.n_negatives.clamp(min=1)


def sense_terms(
    states: Tensor,
    rows: Tensor,
    positives: Tensor,
    negatives: Tensor,
    *,
    margin: float,
    hinge: bool = True,
    total: float | None = None,
    opposed: Tensor | None = None,
) -> SenseTerms:
    """Return the two terms of L_sem (Eq. 4-5) at the chosen positions.

    The hinge is inside the mean: a mean of hinges, not the hinge of a mean. A position without
    negatives adds 0 to the second term, one without positives 0 to the first.

    Args:
        states: [n, d], student states at the chosen positions.
        rows: [r, d], the senses of the dictionary, of any float dtype.
        positives: [n, kappa] int64 indices of rows, -1 where there are fewer.
        negatives: [n, kappa] likewise.
        margin: gamma.
        hinge: whether antonyms push; without, the second term is 0 and costs nothing.
        total: positions to divide by; n if None. Given where a step is cut into batches or ranks,
            whose terms then add up, and so do the counts of pairs.
        opposed: int64, the positions that have negatives, where the caller knows them: then nothing
            here waits for a GPU.
    """
    count = float(max(1, len(states)) if total is None else total)
    if not hinge:
        opposed = negatives.new_empty(0)
    elif opposed is None:
        opposed = torch.nonzero((negatives >= 0).any(dim=1))[:, 0]
    return SenseTerms(
        *_SenseTerms.apply(states, rows, positives, negatives, margin, opposed, count)  # type: ignore[no-untyped-call]
    )


def mean_square(states: Tensor, rows: Tensor) -> Tensor:
    """Return MSE(n, r) = ||n - r||^2 / d for each state and each of its rows.

    Args:
        states: [n, d] float32.
        rows: [n, c, d].

    Returns:
        [n, c] float32.
    """
    return (states[:, None, :] - rows.to(states.dtype)).square().mean(dim=2)


class _SenseTerms(torch.autograd.Function):
    """Both terms, their gradients formed on the way forward."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        states: Tensor,
        rows: Tensor,
        positives: Tensor,
        negatives: Tensor,
        margin: float,
        opposed: Tensor,
        total: float,
    ) -> tuple[Tensor, ...]:
        """Return the fields of :class:`SenseTerms`; the first two are differentiable."""
        wide = states.double() if states.dtype == torch.float64 else states.float()
        pull, pull_gradient = _pull(wide, rows, positives)
        pushing = negatives[opposed]
        push, n_active, push_gradient = _push(wide[opposed], rows, pushing, margin)
        pull_gradient *= 1.0 / total
        push_gradient *= 1.0 / total
        ctx.save_for_backward(pull_gradient, push_gradient, opposed)
        ctx.dtype = states.dtype
        norms = (pull_gradient.norm(), push_gradient.norm())
        counts = (n_active, (pushing >= 0).sum())
        ctx.mark_non_differentiable(*counts, *norms)
        return (pull / total, push / total, *counts, *norms)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Mix the two gradients that forward kept."""
        pull, push, opposed = ctx.saved_tensors
        gradient = (outer[0] * pull).index_add_(0, opposed, outer[1] * push)
        return (gradient.to(ctx.dtype), *[None] * 6)


def _pull(states: Tensor, rows: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum over positions of mean_p MSE(n, p), and its gradient, [n, d]."""
    gradient, value = torch.zeros_like(states), states.new_zeros(())
    for block, gathered, weights in _gathered(states, rows, indices):
        center = torch.bmm(weights[:, None], gathered)[:, 0]
        squares = torch.linalg.vector_norm(gathered, dim=2).square_()
        spread = (weights * squares).sum() - center.square().sum()
        off = (states[block] - center).mul_((weights.sum(dim=1) > 0)[:, None])
        value += off.square().sum() + spread
        gradient[block] = off
    d = states.shape[1]
    return value / d, gradient.mul_(2.0 / d)


def _push(
    states: Tensor, rows: Tensor, indices: Tensor, margin: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sum of mean_a max(0, gamma - MSE(n, a)), the active pairs and the gradient."""
    gradient, value = torch.zeros_like(states), states.new_zeros(())
    active = indices.new_zeros(())
    d = states.shape[1]
    for block, gathered, weights in _gathered(states, rows, indices):
        off = torch.sub(states[block][:, None], gathered, out=gathered)
        inside = margin - torch.linalg.vector_norm(off, dim=2).square_() / d
        pushing = weights * (inside > 0)
        value += (pushing * inside).sum()
        active = active + (pushing > 0).sum()
        gradient[block] = torch.bmm(pushing[:, None], off)[:, 0]
    return value, active, gradient.mul_(-2.0 / d)


def _gathered(
    states: Tensor, rows: Tensor, indices: Tensor
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield blocks of positions: their rows, [b, kappa, d], and the weight of each, [b, kappa].

    A weight is 1 / (rows that are real), 0 for one that is not.
    """
    row_bytes = states.element_size() * states.shape[1] * indices.shape[1]
    on_cpu = states.device.type == "cpu"
    step = max(1, _BLOCK_BYTES // max(1, row_bytes)) if on_cpu else max(1, len(states))
    for start in range(0, len(states), step):
        block = slice(start, start + step)
        chosen = indices[block]
        real = (chosen >= 0).to(states.dtype)
        # index_select reads rows twice as fast as indexing does
        read = rows.index_select(0, chosen.clamp(min=0).flatten()).to(states.dtype)
        gathered = read.view(*chosen.shape, -1)
        yield block, gathered, real / real.sum(dim=1, keepdim=True).clamp(min=1.0)
