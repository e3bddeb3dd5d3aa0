"""The objective (Eq. 3-5 of arXiv:2602.22351), once as it reads and once as it runs.

    L     = L_KD + L_sem
    L_KD  = CE(student, x_(t+1)) + alpha T^2 KL(teacher_T || student_T)
    L_sem = beta_p mean_{p in P} MSE(n_t, p) + beta_n mean_{a in A} max(0, gamma - MSE(n_t, a))

with MSE(x, y) = ||x - y||^2 / d. Every term is a mean over positions: CE and KL over all labelled
ones, L_sem over the positions chosen for it. :func:`reference_terms` materialises everything and is
the truth that the fast paths, vocabulary.py and senses.py, are tested against.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dskd_core.config import TrainingConfig
from dskd_core.decoder.head import Head, as_head
from dskd_core.training.losses.kernels import Divergence


@dataclass(frozen=True)
class Weights:
    """The weights of Eq. 3-5, the margin resolved to a number."""

    positive: float
    negative: float
    margin: float
    state: float
    kl: float
    temperature: float

    @classmethod
    def from_config(cls, config: TrainingConfig, arm: str, calibrated_margin: float) -> "Weights":
        """Return the weights of an arm: kd drops both sense terms, kd_mse pulls to m_t instead."""
        semantic = arm.startswith("dskd")
        margin = calibrated_margin if config.margin == "calibrated" else float(config.margin)
        return cls(
            positive=config.positive_weight if semantic else 0.0,
            negative=config.negative_weight if semantic and arm != "dskd_no_hinge" else 0.0,
            margin=margin,
            state=1.0 if arm == "kd_mse" else config.state_weight,
            kl=config.kl_weight,
            temperature=config.temperature,
        )


def reference_terms(
    student: Tensor,
    teacher: Tensor,
    head: Tensor | Head,
    labels: Tensor,
    *,
    weights: Weights,
    divergence: Divergence = "forward_kl",
    position_weights: Tensor | None = None,
    rows: Tensor | None = None,
    positives: Sequence[Sequence[int]] = (),
    negatives: Sequence[Sequence[int]] = (),
    chosen: Sequence[int] = (),
) -> dict[str, Tensor]:
    """Return every term of Eq. 3-5 and their total, from full logits and loops as it reads.

    The truth, in the dtype it is given; for tests and small batches only.

    Args:
        student: [n, d], n_t.
        teacher: [n, d], m_t.
        head: of both.
        labels: [n] int64, the next tokens; below 0 a position has none.
        weights: of the terms, with the margin and the temperature.
        divergence: of teacher and student.
        position_weights: [n], of each position in CE, divergence and state term; 1 if None.
        rows: [r, d], the senses of the dictionary.
        positives: for each chosen position its rows; below 0 is none.
        negatives: likewise.
        chosen: positions with L_sem.

    Returns:
        ce, kl (the divergence, without alpha T^2), state_mse, positive, negative, loss: scalars.
    """
    share = (labels >= 0).to(student.dtype)
    if position_weights is not None:
        share = share * position_weights
    share = share / share.sum()
    student_logits, teacher_logits = (as_head(head).logits(x) for x in (student, teacher))
    ce = functional.cross_entropy(student_logits, labels.clamp(min=0), reduction="none")
    p, q = ((z / weights.temperature).softmax(dim=1) for z in (teacher_logits, student_logits))
    terms = {
        "ce": (share * ce).sum(),
        "kl": (share * reference_divergence(p, q, divergence)).sum(),
        "state_mse": (share * (student - teacher).square().mean(dim=1)).sum(),
    }
    terms["positive"], terms["negative"] = reference_semantic(
        student[list(chosen)], rows, positives, negatives, margin=weights.margin
    )
    terms["loss"] = (
        terms["ce"]
        + weights.kl * weights.temperature**2 * terms["kl"]
        + weights.positive * terms["positive"]
        + weights.negative * terms["negative"]
        + weights.state * terms["state_mse"]
    )
    return terms


def reference_semantic(
    states: Tensor,
    rows: Tensor | None,
    positives: Sequence[Sequence[int]],
    negatives: Sequence[Sequence[int]],
    *,
    margin: float,
) -> tuple[Tensor, Tensor]:
    """Return the two terms of L_sem before their weights, from loops; the hinge inside the mean.

    Args:
        states: [s, d], n_t at the chosen positions.
        rows: [r, d], the senses of the dictionary; None where nothing is chosen.
        positives: for each chosen position its rows; below 0 is none.
        negatives: likewise.
        margin: gamma.
    """
    positive, negative = states.new_zeros(()), states.new_zeros(())
    for n, near, opposed in zip(states, positives, negatives, strict=True):
        assert rows is not None
        pulls = [(n - rows[p]).square().mean() for p in near if p >= 0]
        gaps = [(n - rows[a]).square().mean() for a in opposed if a >= 0]
        if pulls:
            positive = positive + sum(pulls) / (len(pulls) * len(states))
        if gaps:
            hinges = [(margin - gap).clamp(min=0.0) for gap in gaps]
            negative = negative + sum(hinges) / (len(gaps) * len(states))
    return positive, negative


def reference_divergence(p: Tensor, q: Tensor, divergence: Divergence) -> Tensor:
    """Return the divergence of distributions p (teacher) and q (student), nats a row.

    >>> p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]])
    >>> [round(reference_divergence(p, q, d).item(), 4) for d in ("forward_kl", "jsd")]
    [0.1438, 0.0338]
    """
    if divergence == "jsd":
        middle = (p + q) / 2
        return (kl_of(p, middle) + kl_of(q, middle)) / 2
    return kl_of(p, q) if divergence == "forward_kl" else kl_of(q, p)


def kl_of(p: Tensor, q: Tensor) -> Tensor:
    """Return KL(p || q) of each row."""
    return functional.kl_div(q.log(), p, reduction="none").sum(dim=1)


def mean_square(states: Tensor, rows: Tensor) -> Tensor:
    """Return MSE(n, r) = ||n - r||^2 / d for each state and each of its rows.

    Args:
        states: [n, d] float32.
        rows: [n, c, d].

    Returns:
        [n, c] float32.
    """
    return (states[:, None, :] - rows.to(states.dtype)).square().mean(dim=2)


def all_finite(values: dict[str, float]) -> bool:
    """Say whether every logged term is a number."""
    return all(torch.isfinite(torch.tensor(value)) for value in values.values())
