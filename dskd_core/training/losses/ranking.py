"""Ranking: synonyms' senses nearer to the student's state than antonyms', by a soft margin.

    s = softmin_{p in S} MSE(n, p),    a = softmin_{q in A} MSE(n, q)
    ranking = tau softplus((s - a + offset) / tau),    softmin x = -tau log sum exp(-x / tau)

S are the kappa rows of synonyms nearest to m_t (own senses where the next token has no synonyms), A
those of antonyms. So the order counts and no distance by itself. A position that lacks either has
nothing to rank and adds 0.
"""

import torch
from torch import Tensor


def ranking(
    states: Tensor,
    rows: Tensor,
    synonyms: Tensor,
    antonyms: Tensor,
    *,
    temperature: float,
    offset: float,
) -> Tensor:
    """Return the ranking of each position, [n], differentiable in the states.

    Gathers 2 n kappa d values; positions with antonyms are few.

    Args:
        states: [n, d], n_t.
        rows: [r, d], the senses of the dictionary, of any float dtype.
        synonyms: [n, kappa] int64 indices of rows, -1 where there are fewer.
        antonyms: [n, kappa] likewise.
        temperature: tau, as an MSE.
        offset: by how much antonyms shall be farther.
    """
    near, far = (_soft_minimum(states, rows, each, temperature) for each in (synonyms, antonyms))
    both = (synonyms >= 0).any(dim=1) & (antonyms >= 0).any(dim=1)
    gap = torch.where(both, near - far + offset, 0.0) / temperature
    return torch.where(both, temperature * torch.logaddexp(gap, torch.zeros_like(gap)), 0.0)


def _soft_minimum(states: Tensor, rows: Tensor, indices: Tensor, temperature: float) -> Tensor:
    """Return the soft minimum of MSE(n, r) over the rows of each position, [n]; 0 without any."""
    read = rows.index_select(0, indices.clamp(min=0).flatten()).to(states.dtype)
    off = states[:, None] - read.view(*indices.shape, states.shape[1])
    # Without rows all are as far: masked by -inf the gradient of logsumexp would be no number.
    absent = (indices < 0) & (indices >= 0).any(dim=1, keepdim=True)
    nearness = (-off.square().mean(dim=2) / temperature).masked_fill(absent, -torch.inf)
    return -temperature * nearness.logsumexp(dim=1)
