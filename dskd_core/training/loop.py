"""One student: AdamW on the tail, from stored activations; a killed run goes on bit for bit."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from dskd_core.artifacts import Artifact, ArtifactStore, Draft, Work
from dskd_core.config import StudentConfig, TeacherConfig, TrainingConfig
from dskd_core.dictionary.store import load_dictionary
from dskd_core.embeddings.teacher import Teacher, device_lock, load_teacher
from dskd_core.errors import DataError
from dskd_core.progress import Progress, silent
from dskd_core.tokenizers import load_tokenizer
from dskd_core.training import checkpoint
from dskd_core.training.activations import Activations, WindowActivations
from dskd_core.training.card import model_card
from dskd_core.training.head import HeadLoss
from dskd_core.training.losses import Weights, all_finite, semantic_terms
from dskd_core.training.positions import choose_positions
from dskd_core.training.student import Shape, Tail, export

MODEL = "model"
HISTORY = "history.parquet"
_NOT_CONTENT = {"seed", "max_activation_bytes", "checkpoint_steps"}


@dataclass(frozen=True)
class Batch:
    """The windows of a step, their positions one after the other.

    Attributes:
        entering: [n_windows, length, d] float32, right-padded.
        real: [n_windows, length] bool.
        chosen: [s] int64, positions (of the flat ones) with L_sem.
        windows: the activations, in order.
    """

    entering: Tensor
    real: Tensor
    chosen: Tensor
    windows: Sequence[WindowActivations]

    def flat(self, name: str) -> Tensor:
        """Return an array of all windows' positions, one after the other."""
        return torch.cat([getattr(window, name) for window in self.windows])


def train_student(
    store: ArtifactStore,
    config: TrainingConfig,
    student_config: StudentConfig,
    teacher_config: TeacherConfig,
    teacher: Artifact,
    dictionary: Artifact,
    activations: Artifact,
    *,
    arm: str,
    seed: int,
    progress: Progress = silent,
) -> Artifact:
    """Distil one student (Eq. 3-5) and publish it as a plain transformers checkpoint.

    Every arm starts from the same copy of the teacher and, for one seed, sees the same windows in
    the same order; only the weights of the objective differ.

    ``arm`` is kd, dskd or kd_mse; ``seed`` fixes the order of the windows and the choice of the
    positions with L_sem.

    Raises:
        DataError: if a term of the loss is not a number; the last checkpoint stays.
    """
    work = Work(
        "student",
        config.model_dump(mode="json", exclude=_NOT_CONTENT)
        | student_config.model_dump(mode="json")
        | {"arm": arm, "seed": seed},
        {
            "teacher": teacher.fingerprint,
            "dictionary": dictionary.fingerprint,
            "activations": activations.fingerprint,
        },
    )
    if found := store.find(work):
        checkpoint.drop(store, work)  # left by a run that was killed between publishing and this
        return found
    with device_lock:
        started = time.monotonic()
        run = Run.prepare(
            store,
            config,
            student_config,
            teacher_config,
            teacher,
            dictionary,
            activations,
            arm,
            seed,
        )
        history = run.to_the_end(store, work, progress)
        with store.publish(work, started=started) as draft:
            _export(run, work, draft, teacher, history)
    checkpoint.drop(store, work)
    return store.get(work.stage, work.fingerprint)


@dataclass
class Run:
    """Everything one run needs, and its one step."""

    config: TrainingConfig
    weights: Weights
    teacher: Teacher
    shape: Shape
    tail: Tail
    optimizer: torch.optim.AdamW
    activations: Activations
    head: Tensor
    senses: Tensor
    related: np.ndarray
    seed: int

    @classmethod
    def prepare(
        cls,
        store: ArtifactStore,
        config: TrainingConfig,
        student_config: StudentConfig,
        teacher_config: TeacherConfig,
        teacher: Artifact,
        dictionary: Artifact,
        activations: Artifact,
        arm: str,
        seed: int,
    ) -> "Run":
        """Load the teacher, the dictionary and the activations, and copy the tail."""
        model = load_teacher(teacher, teacher_config)
        shape = Shape.of(student_config, len(model.layers))
        tail = Tail(model, shape)
        loaded = load_dictionary(dictionary)
        cached = Activations(activations, store)
        return cls(
            config,
            Weights.of(config, arm, cached.calibrated_margin),
            model,
            shape,
            tail,
            torch.optim.AdamW(
                tail.layers.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
            ),
            cached,
            model.head.to(getattr(torch, config.compute_dtype)),
            torch.from_numpy(loaded.rows).to(model.device),
            loaded.has_relations(),
            seed,
        )

    @property
    def n_steps(self) -> int:
        """Steps of the whole run, at least one."""
        n_windows = self.config.n_epochs * len(self.activations.training)
        return max(1, int(n_windows // self.config.batch_windows))

    def to_the_end(
        self, store: ArtifactStore, work: Work, progress: Progress
    ) -> list[dict[str, float]]:
        """Train from the last checkpoint, or the start, to the last step; return the log."""
        resumed = checkpoint.resume(store, work, self.tail, self.optimizer)
        history = resumed.history
        for step in range(resumed.step, self.n_steps):
            terms = self.step(step)
            history.append({"step": float(step), **terms})
            progress(step + 1, self.n_steps, "steps", **terms)
            if (step + 1) % self.config.checkpoint_steps == 0 and step + 1 < self.n_steps:
                checkpoint.save(store, work, step + 1, self.tail, self.optimizer, history)
        return history

    def step(self, step: int) -> dict[str, float]:
        """Take one step of AdamW; return the terms of the loss as logged.

        Raises:
            DataError: if a term is not a number; the weights are left as they were.
        """
        batch = self.batch(step)
        rate = learning_rate(step, self.n_steps, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss, terms = self.loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(
            self.tail.layers.parameters(), self.config.max_grad_norm or math.inf
        )
        terms |= {"grad_norm": float(norm), "lr": rate}
        if not all_finite(terms):
            windows = [window.window for window in batch.windows]
            raise DataError(
                f"Step {step} gave {terms} on the windows {windows}; lower training.learning_rate "
                f"({self.config.learning_rate}) and run again: the last checkpoint is kept."
            )
        self.optimizer.step()
        return terms

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Return the objective over a batch and its terms (Eq. 3-5)."""
        weights, device = self.weights, self.teacher.device
        student = self.states(batch)
        labels = batch.flat("labels").to(device)
        scored = torch.nonzero(labels >= 0)[:, 0]
        loss, ce, kl = HeadLoss.apply(  # type: ignore[no-untyped-call]
            student[scored],
            self.head,
            labels[scored],
            batch.flat("expected").to(device)[scored],
            batch.flat("entropy").to(device)[scored],
            weights.temperature,
            weights.kl,
        )
        chosen = batch.chosen.to(device)
        semantic = semantic_terms(
            student[chosen],
            self.senses,
            batch.flat("positives").to(device)[chosen],
            batch.flat("negatives").to(device)[chosen],
            margin=weights.margin,
        )
        pull = (student[scored] - batch.flat("states").to(device)[scored]).square().mean()
        for weight, term in (
            (weights.positive, semantic.positive),
            (weights.negative, semantic.negative),
            (weights.state, pull),
        ):
            if weight:
                loss = loss + weight * term
        terms = {
            "loss": loss,
            "ce": ce,
            "kl": kl,
            "positive": semantic.positive,
            "negative": semantic.negative,
            "active_share": semantic.active_share,
            "state_mse": pull,
        }
        return loss, {name: float(value.detach()) for name, value in terms.items()}

    def states(self, batch: Batch) -> Tensor:
        """Return the student's final states at all real positions, [n, d] float32."""
        return tail_states(self.tail, batch, self.config.compute_dtype)

    def batch(self, step: int) -> Batch:
        """Return the windows of a step: a new order each epoch, fixed by the seed."""
        members = self.activations.training
        first = step * self.config.batch_windows
        places = [divmod(first + i, len(members)) for i in range(self.config.batch_windows)]
        orders = {
            epoch: np.random.default_rng((self.seed, epoch)).permutation(len(members))
            for epoch in {epoch for epoch, _ in places}
        }
        chosen = [(e, self.activations.window(members[orders[e][i]])) for e, i in places]
        positions, start = [], 0
        for epoch, window in chosen:
            labels = window.labels.numpy()
            positions.append(
                start
                + choose_positions(
                    self.related[labels] & (labels >= 0),
                    (window.positives[:, 0] >= 0).numpy(),
                    share=self.config.related_share,
                    at_least=self.config.min_related,
                    seed=(self.seed, epoch, window.window),
                )
            )
            start += len(labels)
        return collate([window for _, window in chosen], np.concatenate(positions))


def collate(windows: Sequence[WindowActivations], chosen: np.ndarray | None = None) -> Batch:
    """Pad the entering states of windows into one batch."""
    lengths = [len(window.labels) for window in windows]
    entering = torch.zeros(len(windows), max(lengths), windows[0].entering.shape[1])
    for line, window in enumerate(windows):
        entering[line, : lengths[line]] = window.entering
    real = torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]
    positions = torch.from_numpy(chosen if chosen is not None else np.empty(0, dtype=np.int64))
    return Batch(entering, real, positions, windows)


def tail_states(tail: Tail, batch: Batch, compute_dtype: str) -> Tensor:
    """Return the student's final states at the real positions of a batch, [n, d] float32."""
    device = next(tail.layers.parameters()).device
    dtype = getattr(torch, compute_dtype)
    with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
        states = tail(batch.entering.to(device))
    return states.float()[batch.real.to(device)]  # type: ignore[no-any-return]


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
    run: Run, work: Work, draft: Draft, teacher: Artifact, history: list[dict[str, float]]
) -> None:
    folder = draft.path(MODEL)
    folder.mkdir()
    trained = run.tail.layers.state_dict()
    n_parameters = export(run.teacher, run.shape, trained, folder)
    load_tokenizer(teacher.folder()).hf.save_pretrained(folder)
    table = pa.Table.from_pylist(history)
    draft.write_table(HISTORY, table)
    last: dict[str, Any] = {name: round(value, 6) for name, value in history[-1].items()}
    draft.counts |= {
        "steps": len(history),
        "layers": run.shape.n_layers,
        "parameters": n_parameters,
        "trainable_parameters": sum(p.numel() for p in run.tail.layers.parameters()),
    }
    draft.report |= {
        "arm": work.config["arm"],
        "seed": work.config["seed"],
        "margin": run.weights.margin,
        "last_step": last,
    }
    card = model_card(work, teacher, run.shape, last, draft.counts)
    (folder / "README.md").write_text(card, "utf-8")
