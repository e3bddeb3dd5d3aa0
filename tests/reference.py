"""Eq. 3-5 of arXiv:2602.22351 as they read: full logits, loops, no shortcut. The truth of tests."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from dskd_core.config import TrainingConfig
from dskd_core.decoder.head import Head, as_head
from dskd_core.training.losses.kernels import Divergence
from dskd_core.training.losses.recipes import Recipe


def paper_recipe(
    *,
    positive: float,
    negative: float,
    margin: float,
    state: float,
    kl: float,
    temperature: float,
) -> Recipe:
    """Return Eq. 3-5 with these weights, and plain MSE to the teacher's state beside them."""
    config = TrainingConfig(
        positive_weight=positive,
        negative_weight=negative,
        margin=margin,
        state_weight=state,
        kl_weight=kl,
        temperature=temperature,
    )
    return Recipe.from_config(config, "paper", 0.0)


def objective_terms(
    student: Tensor,
    teacher: Tensor,
    head: Tensor | Head,
    labels: Tensor,
    *,
    weights: Recipe,
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
        "kl": (share * divergence_of(p, q, divergence)).sum(),
        "state_mse": (share * (student - teacher).square().mean(dim=1)).sum(),
    }
    terms["positive"], terms["negative"] = sense_terms(
        student[list(chosen)], rows, positives, negatives, margin=weights.margin
    )
    terms["loss"] = (
        weights.weight("ce") * terms["ce"]
        + weights.weight("kl") * weights.temperature**2 * terms["kl"]
        + weights.weight("positive") * terms["positive"]
        + weights.weight("negative") * terms["negative"]
        + weights.weight("state_mse") * terms["state_mse"]
    )
    return terms


def state_term(name: str, student: Tensor, teacher: Tensor, head: Head) -> Tensor:
    """Return a term of the teacher's state at one position, from full logits where it is of them.

    Args:
        name: of the term.
        student: [d], n_t.
        teacher: [d], m_t.
        head: of both.
    """
    if name == "state_cosine":
        return 1 - (student @ teacher) / (student.square().sum() * teacher.square().sum()).sqrt()
    if name == "state_head_mse":
        return (head.logits(student[None]) - head.logits(teacher[None])).square().mean()
    return (student - teacher).square().mean()


def ranking(
    state: Tensor,
    rows: Tensor,
    synonyms: Sequence[int],
    antonyms: Sequence[int],
    *,
    temperature: float,
    offset: float,
) -> Tensor:
    """Return tau softplus((s - a + offset) / tau) at one position; 0 where either has no rows.

    Args:
        state: [d], n_t.
        rows: [r, d], the senses of the dictionary.
        synonyms: its rows; below 0 is none.
        antonyms: likewise.
        temperature: tau.
        offset: by how much antonyms shall be farther.
    """
    minima = []
    for indices in (synonyms, antonyms):
        nearness = [
            (-(state - rows[i]).square().mean() / temperature).exp() for i in indices if i >= 0
        ]
        if not nearness:
            return 0.0 * state.sum()
        minima.append(-temperature * sum(nearness).log())
    return temperature * (1 + ((minima[0] - minima[1] + offset) / temperature).exp()).log()


def sense_terms(
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


def divergence_of(p: Tensor, q: Tensor, divergence: Divergence) -> Tensor:
    """Return the divergence of distributions p (teacher) and q (student), nats a row."""
    if divergence == "jsd":
        middle = (p + q) / 2
        return (kl_of(p, middle) + kl_of(q, middle)) / 2
    return kl_of(p, q) if divergence == "forward_kl" else kl_of(q, p)


def kl_of(p: Tensor, q: Tensor) -> Tensor:
    """Return KL(p || q) of each row."""
    return functional.kl_div(q.log(), p, reduction="none").sum(dim=1)
