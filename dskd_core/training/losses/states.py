"""Terms that compare the student's final state with the teacher's, position by position.

    mse       ||n - m||^2 / d
    cosine    1 - n . m / (||n|| ||m||)
    head_mse  ||W (n - m)||^2 / V = (n - m)^T G (n - m) / V,    G = W^T W

Each is [n] float, differentiable in n. The last costs a product with a [d, d] matrix a position.
"""

import torch
from torch import Tensor
from torch.nn import functional

from dskd_core.decoder.head import Head

_ROWS = 8192


def mse(student_states: Tensor, teacher_states: Tensor) -> Tensor:
    """Return ||n - m||^2 / d of each position, [n]."""
    return (student_states - teacher_states).square().mean(dim=1)


def cosine(student_states: Tensor, teacher_states: Tensor) -> Tensor:
    """Return 1 - cos(n, m) of each position, [n]; 1 where a state is zero."""
    return 1.0 - functional.cosine_similarity(student_states, teacher_states, dim=1)


def head_mse(student_states: Tensor, teacher_states: Tensor, metric: Tensor) -> Tensor:
    """Return the mean square over the vocabulary of W (n - m), of each position, [n].

    Args:
        student_states: [n, d], n_t.
        teacher_states: [n, d], m_t.
        metric: [d, d], of :func:`head_metric`.
    """
    off = student_states - teacher_states
    return ((off @ metric) * off).sum(dim=1)


@torch.no_grad()
def head_metric(head: Head) -> Tensor:
    """Return s^2 W^T W / V, [d, d], in float32 (float64 where W is): how the head measures states.

    Biases cancel in a difference; a soft cap is left out.
    """
    weight = head.weight
    dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
    gram = torch.zeros(weight.shape[1], weight.shape[1], dtype=dtype, device=weight.device)
    for rows in torch.split(weight, _ROWS):
        gram += rows.to(dtype).T @ rows.to(dtype)
    return gram * (head.scale**2 / len(weight))
