"""One student: AdamW on the tail; a killed run goes on bit for bit."""

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from dskd_core.artifacts import Artifact, ArtifactStore, Draft, Work
from dskd_core.config import Arm, TeacherConfig, TrainingConfig
from dskd_core.dictionary.store import load_dictionary
from dskd_core.embeddings.teacher import Teacher, device_lock
from dskd_core.errors import DataError
from dskd_core.progress import Progress, silent
from dskd_core.tokenizers import load_tokenizer
from dskd_core.training import checkpoint
from dskd_core.training.activations import Source
from dskd_core.training.card import model_card
from dskd_core.training.inputs import Inputs, is_semantic
from dskd_core.training.losses import Weights, all_finite
from dskd_core.training.objective import Batch, Objective, padded_entering
from dskd_core.training.selection import Selector, calibrated_margin
from dskd_core.training.steps import Schedule, Step
from dskd_core.training.student import MODEL, Tail, export, load_student, shape_of

HISTORY = "history.parquet"


def train_student(
    store: ArtifactStore,
    config: TrainingConfig,
    teacher_config: TeacherConfig,
    inputs: Inputs,
    *,
    arm: Arm,
    seed: int,
    progress: Progress = silent,
) -> Artifact:
    """Distil one student (Eq. 3-5) and publish it as a plain transformers checkpoint.

    Every arm starts from the same copy of the teacher and, for one seed, sees the same windows in
    the same order; only the weights of the objective differ.

    Args:
        store: where the student, and checkpoints on the way to it, are kept.
        config: of the training.
        teacher_config: the device, and online how the teacher is loaded.
        inputs: what the student is made from.
        arm: of the objective, see ``EvaluationConfig.arms``.
        seed: fixes the order of the windows and the choice of the positions with L_sem.
        progress: told steps done, with the terms of the loss.

    Raises:
        DataError: if a term of the loss is not a number; the last checkpoint stays.
    """
    work = inputs.work(config, arm, seed)
    if found := store.find(work):
        checkpoint.drop(store, work)  # left by a run that was killed between publishing and this
        return found
    with device_lock:
        started = time.monotonic()
        run = Run.prepare(store, config, teacher_config, inputs, arm, seed)
        history = run.to_the_end(store, work, progress)
        with store.publish(work, started=started) as draft:
            _export(run, work, draft, inputs.untrained, history)
    checkpoint.drop(store, work)
    return store.get(work.stage, work.fingerprint)


@dataclass
class Run:
    """Everything one run needs, and its one step.

    Attributes:
        config: of the training.
        student: before training.
        entry: its first trainable layer.
        tail: what trains.
        optimizer: of the tail.
        objective: what is minimised.
        schedule: the windows and positions of every step.
        source: where activations come from.
        selector: where candidates come from.
    """

    config: TrainingConfig
    student: Teacher
    entry: int
    tail: Tail
    optimizer: torch.optim.AdamW
    objective: Objective
    schedule: Schedule
    source: Source
    selector: Selector

    @classmethod
    def prepare(
        cls,
        store: ArtifactStore,
        config: TrainingConfig,
        teacher_config: TeacherConfig,
        inputs: Inputs,
        arm: Arm,
        seed: int,
    ) -> "Run":
        """Load what the run reads, and copy the tail."""
        student = load_student(inputs.untrained, teacher_config)
        entry = shape_of(inputs.untrained).entry
        tail = Tail(student, entry)
        dictionary = load_dictionary(inputs.dictionary)
        source, selector = inputs.sources(store, config, teacher_config, dictionary, arm)
        margin = calibrated_margin(inputs.candidates, config.margin_quantile)
        chosen = (dictionary.has_relations(), dictionary.has_senses())
        optimizer = torch.optim.AdamW(
            tail.layers.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        objective = Objective(
            config,
            Weights.of(config, arm, margin),
            tail,
            student.head.to(getattr(torch, config.compute_dtype)),
            torch.from_numpy(dictionary.rows).to(student.device),
        )
        schedule = Schedule(
            config, source, *(chosen if is_semantic(arm) else (None, None)), seed=seed
        )
        return cls(config, student, entry, tail, optimizer, objective, schedule, source, selector)

    @property
    def n_steps(self) -> int:
        """Steps of the whole run."""
        return self.schedule.n_steps

    def to_the_end(
        self, store: ArtifactStore, work: Work, progress: Progress
    ) -> list[dict[str, float]]:
        """Train from the last checkpoint, or the start, to the last step; return the log."""
        resumed = checkpoint.resume(store, work, self.tail, self.optimizer)
        history = resumed.history
        for number in range(resumed.step, self.n_steps):
            terms = self.step(number)
            history.append({"step": float(number), **terms})
            progress(number + 1, self.n_steps, "steps", **terms)
            if (number + 1) % self.config.checkpoint_steps == 0 and number + 1 < self.n_steps:
                checkpoint.save(store, work, number + 1, self.tail, self.optimizer, history)
        return history

    def step(self, number: int) -> dict[str, float]:
        """Take one step of AdamW; return the terms of the loss as logged.

        Raises:
            DataError: if a term is not a number; the weights are left as they were.
        """
        step = self.schedule.step(number)
        rate = learning_rate(number, self.n_steps, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        terms: dict[str, float] = {}
        for share in step.dealt(self.config.n_accumulated):
            loss, parts = self.objective.of(self.batch(share), step)
            loss.backward()  # type: ignore[no-untyped-call]
            terms = added(terms, parts)
        norm = torch.nn.utils.clip_grad_norm_(
            self.tail.layers.parameters(), self.config.max_grad_norm or math.inf
        )
        terms |= {"grad_norm": float(norm), "lr": rate}
        if not all_finite(terms):
            raise DataError(
                f"Step {number} gave {terms} on the windows {list(step.windows)}; lower "
                f"training.learning_rate ({self.config.learning_rate}) and run again: the last "
                "checkpoint is kept."
            )
        self.optimizer.step()
        return terms

    def batch(self, share: Step) -> Batch:
        """Read the activations and the candidates of windows."""
        windows = self.source.read(share.windows)
        starts = np.cumsum([0, *(len(window.labels) for window in windows)])
        near = [
            self.selector.of(window, torch.from_numpy(chosen))
            for window, chosen in zip(windows, share.chosen, strict=True)
            if len(chosen)
        ]
        device, none = self.student.device, torch.empty(0, self.config.n_candidates).long()
        return Batch(
            *padded_entering(windows),
            windows,
            torch.from_numpy(np.concatenate(share.weights)).float().to(device),
            torch.from_numpy(
                np.concatenate([s + c for s, c in zip(starts[:-1], share.chosen, strict=True)])
            ).to(device),
            torch.cat([none, *(positives for positives, _ in near)]).to(device),
            torch.cat([none, *(negatives for _, negatives in near)]).to(device),
        )


def added(terms: dict[str, float], parts: dict[str, float]) -> dict[str, float]:
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


def _export(
    run: Run, work: Work, draft: Draft, untrained: Artifact, history: list[dict[str, float]]
) -> None:
    folder = draft.path(MODEL)
    folder.mkdir()
    n_parameters = export(run.student, run.entry, run.tail.layers.state_dict(), folder)
    load_tokenizer(untrained.folder() / MODEL).hf.save_pretrained(folder)
    draft.write_table(HISTORY, pa.Table.from_pylist(history))
    last: dict[str, Any] = {name: round(value, 6) for name, value in history[-1].items()}
    draft.counts |= {
        "steps": len(history),
        "layers": shape_of(untrained).n_layers,
        "parameters": n_parameters,
        "trainable_parameters": sum(p.numel() for p in run.tail.layers.parameters()),
    }
    draft.report |= {
        "arm": work.config["arm"],
        "seed": work.config["seed"],
        "margin": run.objective.weights.margin,
        "last_step": last,
    }
    card = model_card(work, untrained, last, draft.counts)
    (folder / "README.md").write_text(card, "utf-8")
