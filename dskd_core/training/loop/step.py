"""What one run needs, and its one step, alone or as one of several ranks."""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dskd_core import interruption
from dskd_core.ahead import made_ahead
from dskd_core.config import Arm, TeacherConfig, TrainingConfig
from dskd_core.decoder.compilation import CompiledLayers
from dskd_core.decoder.decoder import Decoder
from dskd_core.decoder.precision import check_computes, resolved_training
from dskd_core.dictionary.store import load_dictionary
from dskd_core.store.artifacts import ArtifactStore
from dskd_core.training.activations.readers import ActivationReader, StoredActivations
from dskd_core.training.candidates.controls import controlled
from dskd_core.training.candidates.nearest import Candidates
from dskd_core.training.candidates.readers import CandidateReader
from dskd_core.training.candidates.store import calibrated_margin
from dskd_core.training.loop.batch import make_batch
from dskd_core.training.loop.inputs import Inputs
from dskd_core.training.loop.schedule import Schedule, Step
from dskd_core.training.loop.start import fit_start
from dskd_core.training.loop.terms import Row, Taken, check_terms
from dskd_core.training.loop.validation import Validation
from dskd_core.training.losses.objective import Batch, Objective
from dskd_core.training.losses.recipes import Recipe, find_recipe
from dskd_core.training.losses.states import head_metric
from dskd_core.training.ranks.ranks import CURE, LostRankError, Ranks
from dskd_core.training.student.shape import Shape, copy_tail, load_student, shape_of
from dskd_core.training.student.tail import Tail

_BATCHES_AHEAD = 2
_HERE, _ASKED = 1.0, 2.0
"""What a rank says of itself beside its terms: that it is there, or was asked to stop. Where an
exchange was given up there is 0."""


@dataclass
class Run:
    """Everything one run needs, and its one step.

    Attributes:
        config: of the training.
        student: before training.
        shape: which of its layers train.
        tail: what trains.
        optimizer: of the tail, whose weights are float32 whatever the teacher's are.
        objective: what is minimised.
        schedule: the windows and positions of every step.
        activations: what the teacher left in a window.
        candidates: of every position; None where none gets L_sem.
        validation: the windows scored on the way, by the first rank; None if none.
        ranks: which windows of a step are taken here.
    """

    config: TrainingConfig
    student: Decoder
    shape: Shape
    tail: Tail
    optimizer: torch.optim.AdamW
    objective: Objective
    schedule: Schedule
    activations: ActivationReader
    candidates: CandidateReader | None
    validation: Validation | None
    ranks: Ranks
    _pending: list[Taken] = field(default_factory=list, init=False)
    _stops: bool = field(default=False, init=False)
    _batches: Generator[Batch] | None = field(default=None, init=False)

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
        check_computes("training.compute_dtype", config.compute_dtype, teacher_config.device)
        ranks = ranks or Ranks.alone()
        if ranks.n_ranks > 1:
            teacher_config = teacher_config.model_copy(update={"device": ranks.device})
        student = load_student(inputs.untrained, teacher_config)
        activations = inputs.activation_reader(store, config, teacher_config, arm)
        has_senses = find_recipe(config, arm).has_sense_terms
        return cls.assemble(
            config,
            arm,
            seed,
            student=student,
            shape=shape_of(inputs.untrained),
            activations=activations,
            senses=SenseInputs.load(inputs, config, arm, student.device)
            if has_senses
            else SenseInputs(),
            margin=calibrated_margin(inputs.candidates, config.margin_quantile),
            validation=Validation.from_activations(store, config, inputs.activations, activations)
            if ranks.is_first
            else None,
            ranks=ranks,
        )

    @classmethod
    def assemble(
        cls,
        config: TrainingConfig,
        arm: Arm,
        seed: int,
        *,
        student: Decoder,
        shape: Shape,
        activations: ActivationReader,
        senses: "SenseInputs",
        margin: float,
        validation: Validation | None = None,
        ranks: Ranks | None = None,
    ) -> "Run":
        """Put a run together from what is loaded already, and copy the tail.

        The precision in ``config`` is named; ``margin`` is gamma where the settings say calibrated.
        Without ``ranks`` all windows of a step are taken here.
        """
        tail, recipe = copy_tail(student, shape), Recipe.from_config(config, arm, margin)
        length = int(activations.lengths.max())
        bridged = shape.behind_gap - shape.entry if "bridge" in recipe.by_name else None
        return cls(
            config=config,
            student=student,
            shape=shape,
            tail=tail,
            optimizer=_optimizer(tail, config),
            objective=_objective(student, tail, config, recipe, senses.rows, length, bridged),
            schedule=Schedule(
                config, activations, senses.related, senses.sensed, seed, senses.opposed
            ),
            activations=activations,
            candidates=senses.candidates,
            validation=validation,
            ranks=ranks or Ranks.alone(),
        )

    @property
    def n_steps(self) -> int:
        """Steps of the whole run."""
        return self.schedule.n_steps

    def fit_start(self) -> None:
        """Close the gap between the student's layers first, where the recipe starts so."""
        if self.objective.recipe.is_fitted:
            fit_start(self.student, self.shape, self.tail, self.activations)

    def step(self, number: int, history: Sequence[Row] = ()) -> Row:
        """Take one step of AdamW and read it; return the terms of the loss as logged.

        Steps count from 0; the loss is compared with the log so far, ``history``.

        Raises:
            DataError: if a term is not a number or the loss explodes; the weights are left as
                they were.
        """
        return self.advance(number, history)[-1]

    def advance(self, number: int, history: Sequence[Row] = (), *, reads: bool = True) -> list[Row]:
        """Take one step of AdamW; return the terms of all steps that were not read before it.

        A step that is not read is taken whatever its loss was: the device is not waited for. When
        a later one is read, the guards look at each in its order and name the first bad one; the
        weights in memory have moved on since then, those of the last checkpoint have not.

        Steps count from 0; losses are compared with ``history``. All ranks must say the same of
        ``reads``: whether terms are read, this step's too.

        Returns:
            A row a step, this one's last; none if nothing is read.

        Raises:
            DataError: if a term is not a number or the loss explodes; this step is not taken.
            LostRankError: if the numbers of another rank did not come, when they are read.
        """
        step = self._step_of(number)
        rate = learning_rate(number, self.n_steps, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        found = []
        for micro_batch in self._micro_batches(step):
            batch = next(self._batches) if self._batches else self.batch(micro_batch)
            loss, terms = self.objective.loss(
                batch,
                total_weight=step.total_weight,
                n_chosen=step.n_chosen,
                n_opposed=step.n_opposed,
                done=number / self.n_steps,
            )
            loss.backward()  # type: ignore[no-untyped-call]
            found.append(terms)
        parameters = list(self.tail.trained().values())
        self.ranks.add_gradients(parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm or math.inf)
        self._pending.append(
            Taken.from_micro_batches(
                *(number, step, rate, found, norm),
                n_accumulated=self.config.n_accumulated,
                extra=self.objective.recipe.logged,
            )
        )
        rows = self._read(history) if reads else []
        self.optimizer.step()
        return rows

    def is_stopping(self) -> bool:
        """Say whether the run was asked to stop; where there are ranks, before the last read.

        Never while a step is unread, so that what is saved was checked.
        """
        if self.ranks.n_ranks == 1:
            return interruption.is_requested() and not self._pending
        return self._stops and not self._pending

    def _read(self, history: Sequence[Row]) -> list[Row]:
        """Read all pending steps at once, and whether a rank was asked to stop; check each."""
        taken, self._pending = self._pending, []
        values = torch.stack([one.values for one in taken])
        here = _ASKED if interruption.is_requested() else _HERE
        said = values.new_full((1, values.shape[1]), here)
        ranks = self.ranks.gather(torch.cat([values, said])).tolist()
        if not all(all(rank[-1]) for rank in ranks):
            raise LostRankError(f"{self.ranks} lost another one (it sent no numbers); {CURE}")
        self._stops = any(rank[-1][0] == _ASKED for rank in ranks)
        rows: list[Row] = []
        for one, *of_ranks in zip(taken, *(rank[:-1] for rank in ranks), strict=True):
            row = one.row(of_ranks)
            check_terms(one.number, one.step, row, [*history, *rows], self.config)
            rows.append(row)
        return rows

    @contextmanager
    def reading_ahead(self, start: int) -> Iterator[None]:
        """Let a thread read the batches of steps while the block takes them, one after the other.

        Two batches are read and on the device, or on their way there, beside the one that is
        computed with. Only what the store has is read ahead; the teacher runs in its turn.
        """
        if not isinstance(self.activations, StoredActivations):
            yield
            return
        steps = map(self._step_of, range(start, self.n_steps))
        dealt = (each for step in steps for each in self._micro_batches(step))
        self._batches = made_ahead(self.batch, dealt, depth=_BATCHES_AHEAD)
        try:
            yield
        finally:
            self._batches.close()
            self._batches = None

    def _micro_batches(self, step: Step) -> list[Step]:
        """Return this rank's windows of a step, by micro-batch."""
        mine = step.only(self.ranks.mine(range(len(step.windows))))
        return mine.micro_batches(self.config.n_accumulated)

    @cached_property
    def _step_of(self) -> Callable[[int], Step]:
        return lru_cache(maxsize=4)(self.schedule.step)  # of it the batches are read ahead, too

    def batch(self, micro_batch: Step) -> Batch:
        """Read the activations and the candidates of windows, or have the teacher make them."""
        windows = self.activations.read(micro_batch.windows)
        candidates = Candidates.none(self.config.n_candidates)
        if self.candidates and micro_batch.n_chosen:
            candidates = self.candidates.select(windows, micro_batch.chosen)
        return make_batch(
            windows,
            micro_batch,
            candidates,
            self.student.device,
            with_bridge=self.objective.bridged is not None,
            other_temperature=self.objective.other_temperature,
        )


@dataclass(frozen=True)
class SenseInputs:
    """What of a dictionary a run reads; nothing, for an arm without L_sem.

    Attributes:
        rows: [r, d], senses, on the device: one copy for the loss and for finding candidates.
        candidates: of every position.
        related: [V] bool, tokens with synonyms or antonyms.
        sensed: [V] bool, tokens with any positives.
        opposed: [V] bool, tokens with antonyms.
    """

    rows: Tensor = field(default_factory=lambda: torch.empty(0))
    candidates: CandidateReader | None = None
    related: NDArray[np.bool_] | None = None
    sensed: NDArray[np.bool_] | None = None
    opposed: NDArray[np.bool_] | None = None

    @classmethod
    def load(
        cls, inputs: Inputs, config: TrainingConfig, arm: Arm, device: torch.device
    ) -> "SenseInputs":
        """Read them for an arm."""
        dictionary, recipe = load_dictionary(inputs.dictionary), find_recipe(config, arm)
        rows = torch.from_numpy(dictionary.rows).to(device)
        return cls(
            rows,
            inputs.candidate_reader(config, dictionary, rows, arm),
            dictionary.has_relations(),
            dictionary.has_senses(),
            np.diff(controlled(dictionary, recipe.relations).antonyms.offsets) > 0
            if recipe.ranks_synonyms
            else None,
        )


def _optimizer(tail: Tail, config: TrainingConfig) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        tail.trained().values(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=True,
    )


def _objective(
    student: Decoder,
    tail: Tail,
    config: TrainingConfig,
    recipe: Recipe,
    rows: Tensor,
    length: int,
    bridged: int | None,
) -> Objective:
    """Put the head, which is the teacher's, in the precision of the products."""
    head = student.output
    return Objective(
        config,
        recipe,
        tail,
        head.to(getattr(torch, config.compute_dtype)),
        rows,
        CompiledLayers(tail.layers, length) if config.compile_layers else None,
        head_metric(head) if recipe.weight("state_head_mse") else None,
        bridged,
    )


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
