"""The objective (Eq. 3-5 of arXiv:2602.22351), once as it reads and once as it runs.

    L     = L_KD + L_sem
    L_KD  = CE(student, x_(t+1)) + alpha T^2 KL(teacher_T || student_T)
    L_sem = beta_p mean_{p in P} MSE(n_t, p) + beta_n mean_{a in A} max(0, gamma - MSE(n_t, a))

with MSE(x, y) = ||x - y||^2 / d. Every term is a mean over positions: CE and KL over all labelled
ones, L_sem over the positions chosen for it. :func:`reference_kd` materialises everything and is
the truth that :mod:`dskd_core.training.head` is tested against.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dskd_core.config import TrainingConfig


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
    def of(cls, config: TrainingConfig, arm: str, calibrated_margin: float) -> "Weights":
        """Return the weights of an arm: kd drops both sense terms, kd_mse pulls to m_t instead."""
        semantic = arm == "dskd"
        margin = calibrated_margin if config.margin == "calibrated" else float(config.margin)
        return cls(
            positive=config.positive_weight if semantic else 0.0,
            negative=config.negative_weight if semantic else 0.0,
            margin=margin,
            state=1.0 if arm == "kd_mse" else config.state_weight,
            kl=config.kl_weight,
            temperature=config.temperature,
        )


@dataclass(frozen=True)
class SemanticTerms:
    """The terms of L_sem before their weights, means over the chosen positions.

    Attributes:
        positive: mean over positions and positives of MSE(n_t, p).
        negative: mean over positions of the mean hinge over negatives; 0 where there are none.
        active_share: share of all (position, negative) pairs inside the margin.
    """

    positive: Tensor
    negative: Tensor
    active_share: Tensor


def reference_kd(
    student: Tensor, teacher: Tensor, head: Tensor, labels: Tensor, *, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return CE and KL(teacher_T || student_T), means over positions, from full logits.

    Args:
        student: [n, d], final states n_t.
        teacher: [n, d], final states m_t.
        head: [V, d], the output matrix W of both.
        labels: [n] int64, the next tokens.
        temperature: T of the KL; CE is at 1.

    Returns:
        (CE, KL), scalars; the KL carries no factor T^2.
    """
    student_logits, teacher_logits = student @ head.T, teacher @ head.T
    ce = functional.cross_entropy(student_logits, labels)
    kl = functional.kl_div(
        functional.log_softmax(student_logits / temperature, dim=1),
        functional.log_softmax(teacher_logits / temperature, dim=1),
        log_target=True,
        reduction="batchmean",
    )
    return ce, kl


def mean_square(states: Tensor, rows: Tensor) -> Tensor:
    """Return MSE(n, r) = ||n - r||^2 / d for each state and each of its rows.

    Args:
        states: [n, d] float32.
        rows: [n, c, d].

    Returns:
        [n, c] float32.
    """
    return (states[:, None, :] - rows.to(states.dtype)).square().mean(dim=2)


def semantic_terms(
    states: Tensor,
    rows: Tensor,
    positives: Tensor,
    negatives: Tensor,
    *,
    margin: float,
) -> SemanticTerms:
    """Return the two terms of L_sem (Eq. 4-5) at the chosen positions.

    The hinge is inside the mean: a mean of hinges, not the hinge of a mean. A position without
    negatives adds 0 to the second term, one without positives 0 to the first.

    Args:
        states: [n, d], student states at the chosen positions.
        rows: [r, d], the senses of the dictionary.
        positives: [n, kappa] int64 indices of rows, -1 where there are fewer.
        negatives: [n, kappa] likewise.
        margin: gamma.
    """
    n = max(1, len(states))
    pull = mean_square(states, rows[positives.clamp(min=0)])
    push = (margin - mean_square(states, rows[negatives.clamp(min=0)])).clamp(min=0.0)
    is_positive, is_negative = positives >= 0, negatives >= 0
    active = ((push > 0) & is_negative).sum() / is_negative.sum().clamp(min=1)
    return SemanticTerms(
        _mean_of_real(pull, is_positive).sum() / n,
        _mean_of_real(push, is_negative).sum() / n,
        active.detach(),
    )


def _mean_of_real(values: Tensor, real: Tensor) -> Tensor:
    """Return the mean over the second axis of the entries that are real, 0 where none is."""
    counts = real.sum(dim=1).clamp(min=1)
    return (values * real).sum(dim=1) / counts


def all_finite(values: dict[str, float]) -> bool:
    """Say whether every logged term is a number."""
    return all(torch.isfinite(torch.tensor(value)) for value in values.values())
