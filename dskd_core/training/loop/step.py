"""What one run needs, and its one step, alone or as one of several ranks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dskd_core.config import Arm, TeacherConfig, TrainingConfig
from dskd_core.decoder.compilation import CompiledLayers
from dskd_core.decoder.decoder import Decoder
from dskd_core.decoder.precision import resolved_training
from dskd_core.dictionary.store import load_dictionary
from dskd_core.errors import DataError
from dskd_core.store.artifacts import ArtifactStore
from dskd_core.training.activations.readers import ActivationReader
from dskd_core.training.candidates.margin import calibrated_margin
from dskd_core.training.candidates.readers import CandidateReader
from dskd_core.training.loop.batch import make_batch
from dskd_core.training.loop.inputs import Inputs, has_sense_terms
from dskd_core.training.loop.ranks import Ranks
from dskd_core.training.loop.schedule import Schedule, Step
from dskd_core.training.loop.validation import Validation
from dskd_core.training.losses.objective import Batch, LossWeights, Objective
from dskd_core.training.student.shape import load_student, shape_of
from dskd_core.training.student.tail import Tail

Row = dict[str, float]

_REMEMBERED_STEPS = 50
_ALWAYS = ("loss", "ce", "kl", "state_mse", "kd_gradient")
_OF_SENSES = ("positive", "negative", "active_share", "positive_gradient", "negative_gradient")


@dataclass
class Run:
    """Everything one run needs, and its one step.

    Attributes:
        config: of the training.
        student: before training.
        entry: its first trainable layer.
        tail: what trains.
        optimizer: of the tail, whose weights are float32 whatever the teacher's are.
        objective: what is minimised.
        schedule: the windows and positions of every step.
        activations: what the teacher left in a window.
        candidates: of every position; None where none gets L_sem.
        validation: the windows scored on the way, by the first rank; None if none.
        ranks: which share of a step is taken here.
    """

    config: TrainingConfig
    student: Decoder
    entry: int
    tail: Tail
    optimizer: torch.optim.AdamW
    objective: Objective
    schedule: Schedule
    activations: ActivationReader
    candidates: CandidateReader | None
    validation: Validation | None
    ranks: Ranks

    @classmethod
    def prepare(
        cls,
        store: ArtifactStore,
        config: TrainingConfig,
        teacher_config: TeacherConfig,
        inputs: Inputs,
        arm: Arm,
        seed: int,
        ranks: Ranks | None = None,
    ) -> "Run":
        """Load what the run reads, and copy the tail."""
        config = resolved_training(config, teacher_config.device)
        ranks = ranks or Ranks.alone()
        if ranks.n_ranks > 1:
            teacher_config = teacher_config.model_copy(update={"device": ranks.device})
        student = load_student(inputs.untrained, teacher_config)
        entry = shape_of(inputs.untrained).entry
        tail = Tail(student, entry)
        activations = inputs.activation_reader(store, config, teacher_config)
        senses = _Senses.load(inputs, config, arm) if has_sense_terms(arm) else _Senses()
        margin = calibrated_margin(inputs.candidates, config.margin_quantile)
        weights = LossWeights.from_config(config, arm, margin)
        length = int(activations.lengths.max())
        return cls(
            config=config,
            student=student,
            entry=entry,
            tail=tail,
            optimizer=_optimizer(tail, config),
            objective=_objective(student, tail, config, weights, senses.rows, length),
            schedule=Schedule(config, activations, senses.related, senses.sensed, seed),
            activations=activations,
            candidates=senses.candidates,
            validation=Validation.from_activations(store, config, inputs.activations, activations)
            if ranks.is_first
            else None,
            ranks=ranks,
        )

    @property
    def n_steps(self) -> int:
        """Steps of the whole run."""
        return self.schedule.n_steps

    def step(self, number: int, history: Sequence[Row] = ()) -> Row:
        """Take one step of AdamW; return the terms of the loss as logged.

        Args:
            number: of the step, from 0.
            history: the log so far, that the loss is compared with.

        Raises:
            DataError: if a term is not a number or the loss explodes; the weights are left as
                they were.
        """
        step = self.schedule.step(number)
        rate = learning_rate(number, self.n_steps, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        terms = dict.fromkeys(_ALWAYS + _OF_SENSES if step.n_chosen else _ALWAYS, 0.0)
        mine = step.share(self.ranks.mine(range(len(step.windows))))
        for share in mine.dealt(self.config.n_accumulated):
            loss, parts = self.objective.loss(
                self.batch(share), total_weight=step.total_weight, n_chosen=step.n_chosen
            )
            loss.backward()  # type: ignore[no-untyped-call]
            terms = added(terms, parts)
        parameters = list(self.tail.layers.parameters())
        self.ranks.add_gradients(parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm or math.inf)
        terms = over_ranks(terms, self.ranks) | {"grad_norm": float(norm), "lr": rate}
        check_terms(number, step, terms, history, self.config)
        self.optimizer.step()
        return terms

    def batch(self, share: Step) -> Batch:
        """Read the activations and the candidates of windows."""
        windows = self.activations.read(share.windows)
        near = [
            self.candidates.read(window, torch.from_numpy(chosen))
            for window, chosen in zip(windows, share.chosen, strict=True)
            if self.candidates and len(chosen)
        ]
        none = torch.empty(0, self.config.n_candidates, dtype=torch.int64)
        return make_batch(
            windows,
            share,
            torch.cat([none, *(positives for positives, _ in near)]),
            torch.cat([none, *(negatives for _, negatives in near)]),
            self.student.device,
        )


@dataclass(frozen=True)
class _Senses:
    """What of a dictionary a run reads; nothing, for an arm without L_sem.

    Attributes:
        rows: [r, d], senses.
        candidates: of every position.
        related: [V] bool, tokens with synonyms or antonyms.
        sensed: [V] bool, tokens with any positives.
    """

    rows: Tensor = field(default_factory=lambda: torch.empty(0))
    candidates: CandidateReader | None = None
    related: NDArray[np.bool_] | None = None
    sensed: NDArray[np.bool_] | None = None

    @classmethod
    def load(cls, inputs: Inputs, config: TrainingConfig, arm: Arm) -> "_Senses":
        dictionary = load_dictionary(inputs.dictionary)
        return cls(
            torch.from_numpy(dictionary.rows),
            inputs.candidate_reader(config, dictionary, arm),
            dictionary.has_relations(),
            dictionary.has_senses(),
        )


def _optimizer(tail: Tail, config: TrainingConfig) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        tail.layers.parameters(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=True,
    )


def _objective(
    student: Decoder,
    tail: Tail,
    config: TrainingConfig,
    weights: LossWeights,
    senses: Tensor,
    length: int,
) -> Objective:
    """Put the head, which is the teacher's, and the senses on the student's device."""
    return Objective(
        config,
        weights,
        tail,
        student.output.to(getattr(torch, config.compute_dtype)),
        senses.to(student.device),
        CompiledLayers(tail.layers, length) if config.compile_layers else None,
    )


def check_terms(
    number: int, step: Step, terms: Row, history: Sequence[Row], config: TrainingConfig
) -> None:
    """Refuse a step whose terms are no numbers, or whose loss is far above the recent ones.

    Args:
        number: of the step.
        step: its windows, for the message.
        terms: as they will be logged.
        history: the log before it.
        config: with ``max_loss_growth``, times the median loss of the last 50 steps.

    Raises:
        DataError: naming step, windows and terms.
    """
    cure = (
        f"lower training.learning_rate ({config.learning_rate}) and run again: the last "
        "checkpoint is kept."
    )
    what = f"Step {number} gave {terms} on the windows {list(step.windows)}"
    if not all(map(math.isfinite, terms.values())):
        raise DataError(f"{what}; {cure}")
    recent = [row["loss"] for row in history[-_REMEMBERED_STEPS:]]
    usual = median(recent) if recent else math.inf
    if 0.0 < config.max_loss_growth * usual < terms["loss"]:
        raise DataError(
            f"{what}: a loss above {config.max_loss_growth:g} times (training.max_loss_growth) the "
            f"median of the last {len(recent)} steps, {usual:.4g}; {cure}"
        )


def added(terms: Row, parts: Row) -> Row:
    """Add the terms of another share of a step; norms of gradients add in squares.

    >>> added({"ce": 1.0, "kd_gradient": 3.0}, {"ce": 0.5, "kd_gradient": 4.0})
    {'ce': 1.5, 'kd_gradient': 5.0}
    """
    return {
        name: math.hypot(terms.get(name, 0.0), parts.get(name, 0.0))
        if name.endswith("_gradient")
        else terms.get(name, 0.0) + parts.get(name, 0.0)
        for name in terms | parts
    }


def over_ranks(terms: Row, ranks: Ranks) -> Row:
    """Add the terms of all ranks up, as :func:`added` does; every rank has the same names."""
    if ranks.n_ranks == 1:
        return terms
    powers = [2 if name.endswith("_gradient") else 1 for name in terms]
    totals = ranks.total(value**power for value, power in zip(terms.values(), powers, strict=True))
    return {
        name: total ** (1 / power) for name, total, power in zip(terms, totals, powers, strict=True)
    }


def learning_rate(step: int, n_steps: int, config: TrainingConfig) -> float:
    """Return the learning rate of a step: a linear rise, then half a cosine down to zero.

    >>> config = TrainingConfig(learning_rate=1.0, warmup_share=0.2)
    >>> [round(learning_rate(step, 10, config), 3) for step in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.038]
    """
    n_warmup = int(config.warmup_share * n_steps)
    if step < n_warmup:
        return config.learning_rate * (step + 1) / n_warmup
    done = (step - n_warmup) / max(1, n_steps - n_warmup)
    return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))
