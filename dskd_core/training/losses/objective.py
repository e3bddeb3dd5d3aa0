"""The objective of a step (Eq. 3-5 of arXiv:2602.22351), over the share of its windows at hand.

    L     = L_KD + L_sem
    L_KD  = CE(student, x_(t+1)) + alpha T^2 KL(teacher_T || student_T)          distillation.py
    L_sem = beta_p mean_{p in P} MSE(n_t, p) + beta_n mean_{a in A} max(0, gamma - MSE(n_t, a))
                                                                                 senses.py

with MSE(x, y) = ||x - y||^2 / d. Every term is a mean over positions: CE and KL over all labelled
ones, L_sem over the positions chosen for it.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from dskd_core.config import TrainingConfig
from dskd_core.decoder.compilation import CompiledLayers, run_compiled
from dskd_core.decoder.head import Head
from dskd_core.training.losses.distillation import Distillation, distillation_loss
from dskd_core.training.losses.logits import Buffers
from dskd_core.training.losses.senses import SenseTerms, sense_terms
from dskd_core.training.losses.targets import TeacherTargets, targets_suffice
from dskd_core.training.student.tail import Tail, run_tail


@dataclass(frozen=True)
class LossWeights:
    """The weights of Eq. 3-5, the margin resolved to a number."""

    positive: float
    negative: float
    margin: float
    state: float
    kl: float
    temperature: float

    @classmethod
    def from_config(
        cls, config: TrainingConfig, arm: str, calibrated_margin: float
    ) -> "LossWeights":
        """Return the weights of an arm: kd drops both sense terms, kd_mse pulls to m_t instead."""
        has_senses = arm.startswith("dskd")
        margin = calibrated_margin if config.margin == "calibrated" else float(config.margin)
        return cls(
            positive=config.positive_weight if has_senses else 0.0,
            negative=config.negative_weight if has_senses and arm != "dskd_no_hinge" else 0.0,
            margin=margin,
            state=1.0 if arm == "kd_mse" else config.state_weight,
            kl=config.kl_weight,
            temperature=config.temperature,
        )


@dataclass(frozen=True)
class Batch:
    """Windows of a step as the loss takes them, their n positions one after the other.

    Attributes:
        entering: [n_windows, length, d], h, right-padded.
        real: [n] int64, places of the n positions among all n_windows * length; None: they are all.
        labels: [n] int64, the next tokens, -1 where there is none.
        teacher_states: [n, d], m_t.
        targets: what m_t left behind; None where the teacher runs beside the student.
        weights: [n] float32, of each position in CE and KL.
        scored: int64, the positions with a weight above 0, of the n.
        chosen: [s] int64, the positions with L_sem, of the n.
        positives, negatives: [s, kappa] int64, rows of the dictionary, -1 where there are fewer.
        pushed: int64, the positions with negatives, of the s.

    What depends on labels and weights alone (``real``, ``scored``, ``pushed``) is found on the
    host: a GPU asked which positions those are would be waited for.
    """

    entering: Tensor
    real: Tensor | None
    labels: Tensor
    teacher_states: Tensor
    targets: TeacherTargets | None
    weights: Tensor
    scored: Tensor
    chosen: Tensor
    positives: Tensor
    negatives: Tensor
    pushed: Tensor


@dataclass(frozen=True)
class Objective:
    """What is minimised.

    Attributes:
        config: of the training.
        weights: of the terms, for the arm.
        tail: what trains.
        head: the teacher's, frozen, in the precision of the products.
        senses: [r, d], rows of the dictionary; none where no position gets L_sem.
        fast: the layers of the tail compiled, if they are to be.
        buffers: memory of logits, kept from step to step.
    """

    config: TrainingConfig
    weights: LossWeights
    tail: Tail
    head: Head
    senses: Tensor
    fast: CompiledLayers | None = None
    buffers: Buffers = field(default_factory=Buffers)

    def loss(
        self, batch: Batch, *, total_weight: float, n_chosen: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return a batch's share of a step's objective, and its terms (Eq. 3-5).

        Every term is a sum over the batch divided by the whole step's total, so that the shares
        of accumulated batches and of ranks add up to the step. Terms are numbers on the device,
        detached: to read one is to wait for all that was computed before it.

        Args:
            batch: some windows of the step.
            total_weight: of all positions of the step in CE and KL.
            n_chosen: positions of the step with L_sem.
        """
        weights = self.weights
        with run_compiled(self.fast, batch.entering):
            student_states = run_tail(
                self.tail, batch.entering, batch.real, self.config.compute_dtype
            )
        kd = distillation_loss(
            student_states,
            self.head,
            batch.labels,
            self._teacher(batch),
            self._distillation,
            position_weights=batch.weights,
            total_weight=total_weight,
            scored=batch.scored,
            buffers=self.buffers,
        )
        loss = kd.loss
        terms = {"ce": kd.ce, "kl": kd.kl, "kd_gradient": kd.gradient_norm}
        with torch.set_grad_enabled(bool(weights.state) and torch.is_grad_enabled()):
            gap = (student_states - batch.teacher_states).square().mean(dim=1)
        terms["state_mse"] = (gap * batch.weights).sum() / total_weight
        if weights.state:
            loss = loss + weights.state * terms["state_mse"]
        if len(batch.chosen):
            senses = self._senses(student_states, batch, n_chosen)
            loss = loss + weights.positive * senses.positive + weights.negative * senses.negative
            terms |= {
                "positive": senses.positive,
                "negative": senses.negative,
                "n_active": senses.n_active,
                "n_negatives": senses.n_negatives,
                "positive_gradient": weights.positive * senses.positive_norm,
                "negative_gradient": weights.negative * senses.negative_norm,
            }
        terms["loss"] = loss
        return loss, {name: value.detach() for name, value in terms.items()}

    @property
    def _distillation(self) -> Distillation:
        return Distillation(
            self.weights.temperature,
            self.weights.kl,
            self.config.divergence,
            self.config.compile_head,
        )

    def _teacher(self, batch: Batch) -> Tensor | TeacherTargets:
        """Return the cheaper of what the teacher gave that is exact."""
        if batch.targets is not None and targets_suffice(self.head, self.config.divergence):
            return batch.targets
        return batch.teacher_states

    def _senses(self, student_states: Tensor, batch: Batch, n_chosen: int) -> SenseTerms:
        """Return the terms of L_sem (Eq. 4-5) before their weights."""
        return sense_terms(
            student_states.index_select(0, batch.chosen),
            self.senses,
            batch.positives,
            batch.negatives,
            margin=self.weights.margin,
            hinge=bool(self.weights.negative),
            total=n_chosen,
            pushed=batch.pushed,
        )
