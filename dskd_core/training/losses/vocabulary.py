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

import torch
from torch import Tensor

from dskd_core.training.losses.logits import Walk, wide
from dskd_core.training.losses.targets import TeacherSide


@dataclass(frozen=True)
class VocabularyScores:
    """CE and divergence of every position.

    Attributes:
        ce: [n], -log softmax(W n_t)[x_(t+1)] in nats.
        kl: [n], the divergence of teacher and student at T, in nats.
        predicted: [n] int64, the student's argmax.
    """

    ce: Tensor
    kl: Tensor
    predicted: Tensor


@torch.no_grad()
def score_vocabulary(
    walk: Walk, student_states: Tensor, labels: Tensor, teacher: TeacherSide
) -> VocabularyScores:
    """Return CE, divergence and argmax of each position in one pass over the vocabulary.

    Args:
        walk: the head, T, and the memory of logits.
        student_states: [n, d], n_t.
        labels: [n] int64, the next tokens.
        teacher: its side of the same positions.
    """
    ce, kl = (wide(student_states).new_zeros(walk.n) for _ in range(2))
    predicted = labels.new_zeros(walk.n)
    for rows in walk.chunks():
        logits = walk.logits(student_states[rows])
        label_logit, _ = _bent(logits.gather(1, labels[rows][:, None]), walk.head.softcap)
        predicted[rows] = logits.max(dim=1).indices
        log_z, kl[rows], _ = teacher.measure(walk, rows, student_states[rows], False)
        ce[rows] = log_z - label_logit[:, 0]
    return VocabularyScores(ce, kl, predicted)


@torch.no_grad()
def vocabulary_gradient(
    walk: Walk, student_states: Tensor, labels: Tensor, teacher: TeacherSide
) -> tuple[Tensor, Tensor, Tensor]:
    """Return CE and divergence of each position, [n], and d(w CE + alpha T^2 D)/d n_t, [n, d].

    Args:
        walk: the head, T, w, alpha, and the memory of logits.
        student_states: [n, d], n_t.
        labels: [n] int64, the next tokens.
        teacher: its side of the same positions.
    """
    ce, kl = (wide(student_states).new_zeros(walk.n) for _ in range(2))
    gradient = wide(student_states).new_zeros(student_states.shape)
    weight = walk.head.weight
    for rows in walk.chunks():
        logits, label = walk.logits(student_states[rows]), labels[rows]
        label_logit, label_slope = _bent(logits.gather(1, label[:, None]), walk.head.softcap)
        log_z, kl[rows], expected = teacher.measure(walk, rows, student_states[rows], True)
        ce[rows] = log_z - label_logit[:, 0]
        gradient[rows] = logits @ weight  # measure has left d loss / d logits in their place
        gradient[rows] -= walk.ce_weight * label_slope * wide(weight[label])
        if expected is not None:
            gradient[rows] -= walk.kl_weight * walk.temperature * expected
        if walk.head.scale != 1.0:
            gradient[rows] *= walk.head.scale
    return ce, kl, gradient


def _bent(logits: Tensor, softcap: float | None) -> tuple[Tensor, Tensor]:
    """Return z = c tanh(logits / c) and its slope 1 - (z / c)^2; logits and 1 without a cap."""
    plain = wide(logits)
    if softcap is None:
        return plain, torch.ones_like(plain)
    bent = (plain / softcap).tanh()
    return softcap * bent, 1.0 - bent.square()
