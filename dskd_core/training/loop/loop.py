"""One student: steps, checkpoints and validation on the way, and what is published at the end."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import torch

from dskd_core import interruption
from dskd_core.config import Arm, TeacherConfig, TrainingConfig
from dskd_core.decoder.decoder import device_lock
from dskd_core.decoder.fitting import needing_memory
from dskd_core.decoder.precision import processor_on, resolved_training, torch_device
from dskd_core.decoder.tokenizer import load_tokenizer
from dskd_core.embeddings.teacher import check_weights
from dskd_core.errors import ArtifactError
from dskd_core.interruption import Interrupted
from dskd_core.progress import Progress, silent
from dskd_core.store.access import check_readable
from dskd_core.store.artifacts import Artifact, ArtifactStore, Draft, Work
from dskd_core.training.loop import checkpoint
from dskd_core.training.loop.checkpoint import Best
from dskd_core.training.loop.inputs import Inputs
from dskd_core.training.loop.step import Run
from dskd_core.training.loop.terms import Row
from dskd_core.training.loop.trackers import tracked
from dskd_core.training.ranks.launched import launched
from dskd_core.training.ranks.machines import met
from dskd_core.training.ranks.ranks import CURE, LostRankError, Ranks, together
from dskd_core.training.student.card import model_card
from dskd_core.training.student.export import export
from dskd_core.training.student.shape import MODEL, shape_of

HISTORY = "history.parquet"
_SMALLER_STEPS = (
    "raise training.n_accumulated, which leaves the objective as it is, or lower "
    "training.batch_windows or corpus.window_tokens (the last checkpoint is kept)"
)
_COPIED_START = "set the recipe's start to copied, or take a device with more memory"


class Order(NamedTuple):
    """What every rank prepares a run of."""

    store: ArtifactStore
    config: TrainingConfig
    teacher_config: TeacherConfig
    inputs: Inputs
    arm: Arm
    seed: int

    @property
    def work(self) -> Work:
        """The student that is to be made."""
        return self.inputs.work(self.config, self.arm, self.seed)

    def as_json(self) -> dict[str, Any]:
        """Return it as it is told to other machines."""
        return {
            "root_uri": self.store.root_uri,
            "training": self.config.model_dump(mode="json"),
            "teacher": self.teacher_config.model_dump(mode="json"),
            "inputs": {name: one.uri for name, one in vars(self.inputs).items() if one},
            "arm": self.arm,
            "seed": self.seed,
        }

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> "Order":
        """Return the order that the first machine told."""
        store = ArtifactStore(said["root_uri"])
        uris = {name: check_readable(uri, name) for name, uri in said["inputs"].items()}
        return cls(
            store,
            TrainingConfig.model_validate(said["training"]),
            TeacherConfig.model_validate(said["teacher"]),
            Inputs(**{name: store.open(uri) for name, uri in uris.items()}),
            said["arm"],
            said["seed"],
        )


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

    Every arm starts from the same copy of the teacher, its gap closed where the recipe says so, and
    for one seed sees the same windows in the same order. The seed also chooses the positions with
    L_sem. For ``arm`` see ``EvaluationConfig.arms``.

    Raises:
        DataError: if a term of the loss is not a number or explodes; the last checkpoint stays.
        CapacityError: if the device has no memory for a step; the last checkpoint stays.
        Interrupted: if the run was asked to stop; its last step is in a checkpoint.
    """
    config = resolved_training(config, teacher_config.device)
    order = Order(store, config, teacher_config, inputs, arm, seed)
    work = order.work
    if found := store.find(work):
        checkpoint.drop(store, work)  # left by a run that was killed between publishing and this
        return found
    device = torch_device(teacher_config.device)
    with device_lock:
        started = time.monotonic()
        with _ranks(order, device.type) as ranks:
            if ranks.n_ranks > 1:  # each has a GPU of its own, whatever the settings name
                device = torch.device(ranks.device)
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            run = Run.prepare(*order, ranks)
            with tracked(config, store.root_uri, work, progress) as told:
                trained = train(run, store, work, told)
        with interruption.finishing(), store.publish(work, started=started) as draft:
            draft.computed(config.compute_dtype, processor_on(teacher_config.device))
            _export(run, work, draft, inputs, trained)
            draft.report["peak_bytes"] = _peak_bytes(device)  # of the run, as its seconds are
    checkpoint.drop(store, work)
    return store.get(work.stage, work.fingerprint)


@dataclass(frozen=True)
class Trained:
    """What a run leaves beside the weights of its last step.

    Attributes:
        history: a row a step; ``validation_ce`` and ``validation_kl`` in some of them.
        best: the weights of the lowest validation CE, where they are to be exported.
    """

    history: list[Row]
    best: Best | None


@interruption.finishing()
def train(run: Run, store: ArtifactStore, work: Work, progress: Progress) -> Trained:
    """Train from the last checkpoint, or the start, to the last step.

    Of all ranks the first alone validates, saves and reports.

    Raises:
        DataError: see :meth:`Run.step`.
        Interrupted: if the process of the first rank was asked to stop.
    """
    config, n_steps = run.config, run.n_steps
    resumed = checkpoint.resume(store, work, run.tail, run.optimizer)
    _check_all_resume(run.ranks, resumed.step)
    history, best = resumed.history, resumed.best
    if not resumed.step:
        with needing_memory("the fitted start of a student", _COPIED_START):
            run.fit_start()
    with run.reading_ahead(resumed.step):
        for number in range(resumed.step, n_steps):
            n_done = number + 1
            with needing_memory(f"step {n_done} of {n_steps} of a student", _SMALLER_STEPS):
                rows = run.advance(number, history, reads=_is_read(run, n_done))
            if run.validation and run.validation.is_due(n_done, n_steps, config):
                with needing_memory(f"validation after step {n_done}", _SMALLER_STEPS):
                    scored = run.validation.score(run.objective)
                rows[-1] |= {f"validation_{name}": value for name, value in scored.items()}
                if config.keep == "best" and (best is None or scored["ce"] < best.ce):
                    best = Best.from_tail(n_done, scored["ce"], run.tail)
            first = len(history)
            history += [{"step": float(first + i), **row} for i, row in enumerate(rows)]
            stops = run.is_stopping()
            if run.ranks.is_first and (stops or _is_saved(run, n_done)):
                checkpoint.save(
                    *(store, work, n_done, run.tail, run.optimizer, history),
                    best=best,
                    n_kept=config.n_checkpoints,
                )
            if stops:
                raise Interrupted(
                    f"Stopped after step {n_done} of {n_steps}, as asked; its checkpoint is kept: "
                    "run again to go on from there."
                )
            for i, row in enumerate(rows, start=first + 1):
                progress(i, n_steps, "steps", **row)
    return Trained(history, best)


def _check_all_resume(ranks: Ranks, step: int) -> None:
    """Refuse to go on from different checkpoints: storage may show machines different ones."""
    told = ranks.gather(torch.tensor([1, step], device=ranks.device)).tolist()
    if not all(is_there for is_there, _ in told):
        raise LostRankError(f"{ranks} lost another one before its first step; {CURE}")
    if len(steps := {theirs for _, theirs in told}) > 1:
        raise ArtifactError(
            f"The ranks of one student found checkpoints of different steps ({sorted(steps)}): the "
            "storage does not show all machines the same files yet; run again."
        )


def _is_saved(run: Run, n_done: int) -> bool:
    """Say whether a checkpoint is due after so many steps; the last one's is the student."""
    return n_done % run.config.checkpoint_steps == 0 and n_done < run.n_steps


def _is_read(run: Run, n_done: int) -> bool:
    """Say whether terms are read after so many steps: alike on all ranks.

    Before a checkpoint they are, so that none holds a step that was not checked; alone also where
    the run was asked to stop, which ranks hear of when they read.
    """
    config = run.config
    validates = config.validation_steps and n_done % config.validation_steps == 0
    due = n_done % config.log_steps == 0 or n_done == run.n_steps
    asked = run.ranks.n_ranks == 1 and interruption.is_requested()
    return bool(due or validates or asked) or _is_saved(run, n_done)


def _be_rank(ranks: Ranks, order: Order) -> None:
    """Take the steps of another rank than the first, in a process of its own."""
    train(Run.prepare(*order, ranks), order.store, order.work, silent)


@contextmanager
def _ranks(order: Order, device: str) -> Iterator[Ranks]:
    """Start the other ranks, or tell those that torch's launcher started what to train."""
    if machines := met():
        with machines.leading(order.as_json(), device) as ranks:
            yield ranks
        return
    with together(order.config.n_ranks, _be_rank, order, device=device) as ranks:
        yield ranks


def be_ordered_rank(ranks: Ranks, said: dict[str, Any]) -> None:
    """Take the steps of a rank of another machine, as the first one's order says.

    Raises:
        ArtifactError: if this machine reads another teacher than the first one did.
    """
    order, place = Order.from_json(said), launched()
    teacher = order.inputs.teacher
    if teacher and place and place.local_rank == 0:  # once a machine
        check_weights(teacher, trust_remote_code=order.teacher_config.trust_remote_code)
    _be_rank(ranks, order)


def _export(run: Run, work: Work, draft: Draft, inputs: Inputs, trained: Trained) -> None:
    folder, history, best = draft.path(MODEL), trained.history, trained.best
    untrained = inputs.untrained
    folder.mkdir()
    if best:
        run.tail.load(best.weights)
    n_parameters = export(run.student, run.shape.entry, run.tail.weights(), folder)
    load_tokenizer(untrained.folder() / MODEL).hf.save_pretrained(folder)
    draft.write_table(HISTORY, _table(history))
    last: dict[str, Any] = {name: round(value, 6) for name, value in history[-1].items()}
    draft.counts |= {
        "steps": len(history),
        "layers": shape_of(untrained).n_layers,
        "parameters": n_parameters,
        "trainable_parameters": sum(p.numel() for p in run.tail.trained().values()),
    }
    draft.report |= {
        "arm": work.config["arm"],
        "seed": work.config["seed"],
        "margin": run.objective.recipe.margin,
        "last_step": last,
        "kept_step": best.step if best else len(history),
    }
    card = model_card(work, untrained, inputs.activations, inputs.dictionary, draft)
    (folder / "README.md").write_text(card, "utf-8")


def _peak_bytes(device: torch.device) -> int:
    """Return the most memory held: on the GPU by this run, else by this process since it began."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _table(history: list[Row]) -> pa.Table:
    """Return the log as a table; what a step was not scored on is null there."""
    names = dict.fromkeys(name for row in history for name in row)
    return pa.table(
        {name: pa.array([row.get(name) for row in history], pa.float64()) for name in names}
    )
