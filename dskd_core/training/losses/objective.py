"""The objective of a step: the terms of a recipe, over the micro-batch at hand.

The paper's (Eq. 3-5 of arXiv:2602.22351) is

    L     = L_KD + L_sem
    L_KD  = CE(student, x_(t+1)) + alpha T^2 KL(teacher_T || student_T)          distillation.py
    L_sem = beta_p mean_{p in P} MSE(n_t, p) + beta_n mean_{a in A} max(0, gamma - MSE(n_t, a))
                                                                                 senses.py

with MSE(x, y) = ||x - y||^2 / d; recipes.py has every term. Each is a mean over positions: CE, KL
and the terms of the teacher's state over all labelled ones, L_sem over the positions chosen for it.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from dskd_core.config import TrainingConfig
from dskd_core.config.recipes import SENSE_TERMS
from dskd_core.decoder.compilation import CompiledLayers, run_compiled
from dskd_core.decoder.head import Head
from dskd_core.training.losses.distillation import Distillation, distillation_loss
from dskd_core.training.losses.logits import Buffers
from dskd_core.training.losses.ranking import ranking
from dskd_core.training.losses.recipes import RANKING, STATE_TERMS, Recipe
from dskd_core.training.losses.senses import sense_terms
from dskd_core.training.losses.states import cosine, head_mse, mse
from dskd_core.training.losses.targets import TeacherTargets, targets_suffice
from dskd_core.training.student.tail import Tail, capturing, run_tail


@dataclass(frozen=True)
class Batch:
    """Windows of a step as the loss takes them, their n positions one after the other.

    Attributes:
        entering: [n_windows, length, d], h, right-padded.
        real: [n] int64, places of the n positions among all n_windows * length; None: they are all.
        labels: [n] int64, the next tokens, -1 where there is none.
        teacher_states: [n, d], m_t.
        targets: what m_t left behind at the recipe's T; None where the teacher runs beside the
            student, or nothing was kept at that T.
        weights: [n] float32, of each position in CE and KL.
        scored: int64, the positions with a weight above 0, of the n.
        chosen: [s] int64, the positions with L_sem, of the n.
        positives, negatives: [s, kappa] int64, rows of the dictionary, -1 where there are fewer.
        opposed: int64, the positions with negatives, of the s.
        synonyms: [p, kappa] int64, rows that negatives are ranked after, of the opposed; if any.
        bridge: [n, d], the teacher's state behind the student's gap, if a bridge is built to it.

    What depends on labels and weights alone (``real``, ``scored``, ``opposed``) is found on the
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
    opposed: Tensor
    synonyms: Tensor | None = None
    bridge: Tensor | None = None


@dataclass(frozen=True)
class Objective:
    """What is minimised.

    Attributes:
        config: of the training.
        recipe: the terms and their weights.
        tail: what trains.
        head: the teacher's, frozen, in the precision of the products.
        rows: [r, d], of the dictionary; none where no position gets L_sem.
        fast: the layers of the tail compiled, if they are to be.
        metric: [d, d], of the head, where a term is measured by it.
        bridged: the tail's layer whose input a bridge is built to, if any.
        buffers: memory of logits, kept from step to step.
    """

    config: TrainingConfig
    recipe: Recipe
    tail: Tail
    head: Head
    rows: Tensor
    fast: CompiledLayers | None = None
    metric: Tensor | None = None
    bridged: int | None = None
    buffers: Buffers = field(default_factory=Buffers)

    def loss(
        self,
        batch: Batch,
        *,
        total_weight: float,
        n_chosen: int,
        n_opposed: int = 0,
        done: float = 0.0,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what a batch adds to a step's objective, and its terms before their weights.

        Every term is a sum over the batch divided by the whole step's total, so that the losses
        of micro-batches and of ranks add up to the step. Terms are numbers on the device,
        detached: to read one is to wait for all that was computed before it.

        ``n_opposed`` are the chosen positions of the step with antonyms; ``done`` is the share of
        the steps that is done, for the weights that change.
        """
        weights = {name: self.recipe.weight(name, done) for name in (*STATE_TERMS, *SENSE_TERMS)}
        student_states, bridge = self._run_tail(batch)
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
        terms = {"ce": kd.ce, "kl": kd.kl, "kd_gradient": kd.gradient_norm}
        terms |= self._state_terms(batch, student_states, bridge, weights, total_weight)
        if len(batch.chosen):
            terms |= self._sense_terms(batch, student_states, weights, n_chosen, n_opposed)
        loss = kd.loss
        for name, weight in weights.items():
            if weight and name in terms:
                loss = loss + weight * terms[name]
        terms["loss"] = loss
        return loss, {name: value.detach() for name, value in terms.items()}

    def _state_terms(
        self,
        batch: Batch,
        student_states: Tensor,
        bridge: Tensor | None,
        weights: dict[str, float],
        total_weight: float,
    ) -> dict[str, Tensor]:
        """Return the terms of the teacher's states, with a gradient where they have a weight."""
        found = {}
        for name in ("state_mse", *self.recipe.logged):
            states, taught = student_states, batch.teacher_states
            if name == "bridge":
                if bridge is None or batch.bridge is None:
                    continue
                states, taught = bridge, batch.bridge
            elif name not in STATE_TERMS:
                continue
            with torch.set_grad_enabled(bool(weights[name]) and torch.is_grad_enabled()):
                gap = self._gap(name, states, taught)
            found[name] = (gap * batch.weights).sum() / total_weight
        return found

    def _sense_terms(
        self,
        batch: Batch,
        student_states: Tensor,
        weights: dict[str, float],
        n_chosen: int,
        n_opposed: int,
    ) -> dict[str, Tensor]:
        """Return the terms of L_sem, and what is logged of them."""
        senses = sense_terms(
            student_states.index_select(0, batch.chosen),
            self.rows,
            batch.positives,
            batch.negatives,
            margin=self.recipe.margin,
            hinge=bool(self.recipe.weight("negative")),
            total=n_chosen,
            opposed=batch.opposed,
        )
        found = {
            "positive": senses.positive,
            "negative": senses.negative,
            "n_active": senses.n_active,
            "n_negatives": senses.n_negatives,
            "positive_gradient": weights["positive"] * senses.positive_norm,
            "negative_gradient": weights["negative"] * senses.negative_norm,
        }
        if batch.synonyms is not None and "ranking" in self.recipe.by_name:
            ranked = self._ranking(student_states, batch, batch.synonyms)
            found["ranking"] = ranked / max(1, n_opposed)
        return found

    def _run_tail(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return the student's final states, [n, d], and those that enter the bridged layer."""
        run = (self.tail, batch.entering, batch.real, self.config.compute_dtype)
        with run_compiled(self.fast, batch.entering):
            if self.bridged is None:
                return run_tail(*run), None
            with capturing(self.tail.layers[self.bridged]) as caught:
                states = run_tail(*run)
        flat = caught[0].float().flatten(0, 1)
        return states, flat if batch.real is None else flat.index_select(0, batch.real)

    @property
    def other_temperature(self) -> float | None:
        """T of the recipe where it is not that of the training."""
        same = self.recipe.temperature == self.config.temperature
        return None if same else self.recipe.temperature

    @property
    def _distillation(self) -> Distillation:
        return Distillation(
            self.recipe.temperature,
            self.recipe.weight("kl"),
            self.config.divergence,
            self.config.compile_head,
            self.recipe.weight("ce"),
        )

    def _gap(self, name: str, student_states: Tensor, teacher_states: Tensor) -> Tensor:
        """Return a term of the teacher's state at each position, [n]."""
        if name in ("state_cosine", "bridge"):
            return cosine(student_states, teacher_states)
        if name == "state_head_mse" and self.metric is not None:
            return head_mse(student_states, teacher_states, self.metric)
        return mse(student_states, teacher_states)

    def _teacher(self, batch: Batch) -> Tensor | TeacherTargets:
        """Return the cheaper of what the teacher gave that is exact: targets, or m_t."""
        if batch.targets is not None and targets_suffice(self.head, self.config.divergence):
            return batch.targets
        return batch.teacher_states

    def _ranking(self, student_states: Tensor, batch: Batch, synonyms: Tensor) -> Tensor:
        """Return the sum of the rankings of the positions with antonyms."""
        term, opposed = self.recipe.by_name["ranking"], batch.opposed
        each = ranking(
            student_states.index_select(0, batch.chosen.index_select(0, opposed)),
            self.rows,
            synonyms,
            batch.negatives.index_select(0, opposed),
            temperature=term.temperature or RANKING,
            offset=term.offset or 0.0,
        )
        return each.sum()
