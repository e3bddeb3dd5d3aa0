"""The objective of a step (Eq. 3-5), over whatever share of its windows is at hand."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from dskd_core.config import TrainingConfig
from dskd_core.decoder.compilation import CompiledLayers, run_compiled
from dskd_core.decoder.head import Head
from dskd_core.training.activations.capture import WindowActivations
from dskd_core.training.loop.schedule import Step
from dskd_core.training.losses.logits import Buffers
from dskd_core.training.losses.senses import SemanticTerms, semantic_terms
from dskd_core.training.losses.terms import Weights
from dskd_core.training.losses.vocabulary import KdLoss, kd_loss
from dskd_core.training.student.tail import Tail


@dataclass(frozen=True)
class Batch:
    """Windows of a step as the loss takes them, their n positions one after the other.

    Attributes:
        entering: [n_windows, length, d], h, right-padded.
        real: [n_windows, length] bool, the n positions.
        windows: the activations, in order.
        weights: [n] float32, of each position in CE and KL.
        chosen: [s] int64, the positions with L_sem, of the n.
        positives, negatives: [s, kappa] int64, rows of the dictionary, -1 where there are fewer.
    """

    entering: Tensor
    real: Tensor
    windows: Sequence[WindowActivations]
    weights: Tensor
    chosen: Tensor
    positives: Tensor
    negatives: Tensor

    @classmethod
    def from_windows(
        cls,
        windows: Sequence[WindowActivations],
        share: Step,
        positives: Tensor,
        negatives: Tensor,
        device: torch.device,
    ) -> "Batch":
        """Put the positions of windows one after the other.

        Args:
            windows: the activations of the windows of ``share``, in its order.
            share: with the weights and the chosen positions of each window.
            positives: [s, kappa] int64, rows for all chosen positions.
            negatives: likewise.
            device: where the loss is computed.
        """
        starts = np.cumsum([0, *(len(window.labels) for window in windows)])
        chosen = [start + within for start, within in zip(starts[:-1], share.chosen, strict=True)]
        return cls(
            *padded_entering(windows),
            windows,
            torch.from_numpy(np.concatenate(share.weights)).float().to(device),
            torch.from_numpy(np.concatenate(chosen)).to(device),
            positives.to(device),
            negatives.to(device),
        )

    def flat(self, name: str) -> Tensor | None:
        """Return an array of all positions on the loss's device, None where windows have none."""
        values = [getattr(window, name) for window in self.windows]
        return None if values[0] is None else torch.cat(values).to(self.weights.device)


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
    weights: Weights
    tail: Tail
    head: Head
    senses: Tensor
    fast: CompiledLayers | None = None
    buffers: Buffers = field(default_factory=Buffers)

    def loss(self, batch: Batch, step: Step) -> tuple[Tensor, dict[str, float]]:
        """Return a batch's share of a step's objective, and its terms (Eq. 3-5).

        Every term is a sum over the batch divided by the whole step's total, so that the shares
        of accumulated batches and of ranks add up to the step.
        """
        weights = self.weights
        with run_compiled(self.fast, batch.entering):
            states = run_tail(self.tail, batch.entering, batch.real, self.config.compute_dtype)
        teacher_states = batch.flat("states")
        assert teacher_states is not None
        kd = self._kd(states, teacher_states, batch, step)
        loss = kd.loss
        terms = {"ce": kd.ce, "kl": kd.kl, "kd_gradient": kd.gradient_norm}
        with torch.set_grad_enabled(bool(weights.state) and torch.is_grad_enabled()):
            gap = (states - teacher_states).square().mean(dim=1)
        terms["state_mse"] = (gap * batch.weights).sum() / step.total_weight
        if weights.state:
            loss = loss + weights.state * terms["state_mse"]
        if len(batch.chosen):
            semantic = self._semantic(states, batch, step)
            loss = (
                loss + weights.positive * semantic.positive + weights.negative * semantic.negative
            )
            terms |= {
                "positive": semantic.positive,
                "negative": semantic.negative,
                "active_share": semantic.active_share * (len(batch.chosen) / step.n_chosen),
                "positive_gradient": weights.positive * semantic.positive_norm,
                "negative_gradient": weights.negative * semantic.negative_norm,
            }
        terms["loss"] = loss
        return loss, {name: float(value.detach()) for name, value in terms.items()}

    def _kd(self, states: Tensor, teacher_states: Tensor, batch: Batch, step: Step) -> KdLoss:
        """Return L_KD of Eq. 3."""
        labels = batch.flat("labels")
        assert labels is not None
        return kd_loss(
            states,
            self.head,
            labels,
            expected=batch.flat("expected"),
            entropy=batch.flat("entropy"),
            teacher_states=teacher_states,
            position_weights=batch.weights,
            total_weight=step.total_weight,
            temperature=self.weights.temperature,
            kl_weight=self.weights.kl,
            divergence=self.config.divergence,
            compiled=self.config.compile_head,
            buffers=self.buffers,
        )

    def _semantic(self, states: Tensor, batch: Batch, step: Step) -> SemanticTerms:
        """Return the terms of L_sem (Eq. 4-5) before their weights."""
        return semantic_terms(
            states.index_select(0, batch.chosen),
            self.senses,
            batch.positives,
            batch.negatives,
            margin=self.weights.margin,
            hinge=bool(self.weights.negative),
            total=step.n_chosen,
        )


def padded_entering(windows: Sequence[WindowActivations]) -> tuple[Tensor, Tensor]:
    """Pad the states that enter the tail: [n_windows, length, d], and which are real."""
    lengths = [len(window.labels) for window in windows]
    first = windows[0].entering
    entering = first.new_zeros(len(windows), max(lengths), first.shape[1])
    for line, window in enumerate(windows):
        entering[line, : lengths[line]] = window.entering
    real = torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]
    return entering, real


def run_tail(tail: Tail, entering: Tensor, real: Tensor, compute_dtype: str) -> Tensor:
    """Return the student's final states at real positions, [n, d] float32."""
    device = next(tail.layers.parameters()).device
    dtype = getattr(torch, compute_dtype)
    with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
        states = tail(entering.to(device).float())
    # Whole windows need no gather, whose way back would scatter.
    flat = states.float().flatten(0, 1)
    return flat if bool(real.all()) else flat[real.flatten().to(device)]  # type: ignore[no-any-return]
