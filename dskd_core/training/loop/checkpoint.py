"""Checkpoints: safetensors and JSON, published whole, enough to go on bit for bit.

No state of a random generator is among them: orders and choices follow from the seed, the epoch
and the window's number, and nothing in training drops out.
"""

import json
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from dskd_core.errors import ArtifactError
from dskd_core.store.artifacts import Artifact, ArtifactStore, Work
from dskd_core.training.student.tail import Tail

STAGE = "checkpoint"
_TENSORS = "state.safetensors"
_HISTORY = "history.json"
_BEST = "best.json"


@dataclass(frozen=True)
class Best:
    """The weights of the lowest validation CE so far.

    Attributes:
        step: steps taken when they were scored.
        ce: their validation CE in nats.
        weights: name -> value of every trainable parameter then.
    """

    step: int
    ce: float
    weights: dict[str, Tensor]

    @classmethod
    def from_tail(cls, step: int, ce: float, tail: Tail) -> "Best":
        """Keep a copy of the weights as they are."""
        weights = {name: p.detach().clone() for name, p in tail.trained().items()}
        return cls(step, ce, weights)


@dataclass(frozen=True)
class Resumed:
    """Where a killed run goes on: the step done last, the log up to it, the best weights."""

    step: int
    history: list[dict[str, float]]
    best: Best | None = None


def save(
    store: ArtifactStore,
    student: Work,
    step: int,
    tail: Tail,
    optimizer: Optimizer,
    history: list[dict[str, float]],
    *,
    best: Best | None = None,
    n_kept: int = 1,
) -> None:
    """Publish the state after a step, then drop older ones of the same run.

    Those of later steps stay: a second run of the same student, which is ahead, goes on from them.
    ``n_kept`` checkpoints are left standing, this one included; ``best`` is kept where it will be
    exported.
    """
    older = [a for a in _of_run(store, student) if _step(a) < step]
    work = Work(STAGE, {"student": student.fingerprint, "step": step}, {})
    with store.publish(work) as draft:
        save_file(_state(tail, optimizer, best), draft.path(_TENSORS))
        draft.write_json(_HISTORY, history)
        if best is not None:
            draft.write_json(_BEST, {"step": best.step, "ce": best.ce})
    for artifact in sorted(older, key=_step, reverse=True)[n_kept - 1 :]:
        store.discard(artifact)


def resume(store: ArtifactStore, student: Work, tail: Tail, optimizer: Optimizer) -> Resumed:
    """Load the latest checkpoint of a run into the tail and the optimizer, if there is one.

    Raises:
        ArtifactError: if it is damaged.
    """
    while found := _of_run(store, student):
        latest = max(found, key=_step)
        try:
            return _load(latest, tail, optimizer)
        except (ArtifactError, FileNotFoundError):
            # A second run of the same student may have dropped it for a later one just now.
            if store.exists(latest):
                raise
    return Resumed(0, [])


def drop(store: ArtifactStore, student: Work) -> None:
    """Delete all checkpoints of a finished run."""
    for artifact in _of_run(store, student):
        store.discard(artifact)


def _load(latest: Artifact, tail: Tail, optimizer: Optimizer) -> Resumed:
    folder = latest.folder(weights=True)
    state = load_file(folder / _TENSORS)
    history: list[dict[str, float]] = json.loads((folder / _HISTORY).read_text("utf-8"))
    scored = json.loads((folder / _BEST).read_text("utf-8")) if (folder / _BEST).exists() else None
    with torch.no_grad():
        for name, parameter in tail.trained().items():
            parameter.copy_(state[f"weight.{name}"])
            # The step too: AdamW's fused kernel reads it where the parameter is.
            optimizer.state[parameter] = {
                key: state[f"{key}.{name}"].to(parameter.device)
                for key in ("step", "exp_avg", "exp_avg_sq")
            }
    best = None
    if scored:
        weights = {
            name: state[f"best.{name}"].to(parameter.device)
            for name, parameter in tail.trained().items()
        }
        best = Best(**scored, weights=weights)
    return Resumed(_step(latest), history, best)


def _of_run(store: ArtifactStore, student: Work) -> list[Artifact]:
    return [a for a in store.of_stage(STAGE) if a.record.config["student"] == student.fingerprint]


def _step(artifact: Artifact) -> int:
    return int(artifact.record.config["step"])


def _state(tail: Tail, optimizer: Optimizer, best: Best | None) -> dict[str, Tensor]:
    tensors: dict[str, Any] = {}
    for name, parameter in tail.trained().items():
        tensors[f"weight.{name}"] = parameter.detach().contiguous()
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key}.{name}"] = value.contiguous()
        if best is not None:
            tensors[f"best.{name}"] = best.weights[name].contiguous()
    return tensors
