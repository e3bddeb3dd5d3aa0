"""Checkpoints: safetensors and JSON, published whole, enough to go on bit for bit."""

import json
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from dskd_core.artifacts import Artifact, ArtifactStore, Work
from dskd_core.training.student import Tail

STAGE = "checkpoint"
_TENSORS = "state.safetensors"
_HISTORY = "history.json"


@dataclass(frozen=True)
class Resumed:
    """Where a killed run goes on: the step done last, and the log up to it."""

    step: int
    history: list[dict[str, float]]


def save(
    store: ArtifactStore,
    student: Work,
    step: int,
    tail: Tail,
    optimizer: Optimizer,
    history: list[dict[str, float]],
) -> None:
    """Publish the state after a step, then drop the older ones of the same run."""
    older = _of_run(store, student)
    work = Work(STAGE, {"student": student.fingerprint, "step": step}, {})
    with store.publish(work) as draft:
        save_file(_state(tail, optimizer), draft.path(_TENSORS))
        draft.write_json(_HISTORY, history)
    for artifact in older:
        if artifact.record.config["step"] != step:
            store.discard(artifact)


def resume(store: ArtifactStore, student: Work, tail: Tail, optimizer: Optimizer) -> Resumed:
    """Load the latest checkpoint of a run into the tail and the optimizer, if there is one."""
    found = _of_run(store, student)
    if not found:
        return Resumed(0, [])
    latest = max(found, key=lambda artifact: int(artifact.record.config["step"]))
    folder = latest.folder()
    state = load_file(folder / _TENSORS)
    with torch.no_grad():
        for name, parameter in tail.layers.named_parameters():
            parameter.copy_(state[f"weight.{name}"])
            moments = {
                key: state[f"{key}.{name}"].to(parameter.device)
                for key in ("exp_avg", "exp_avg_sq")
            }
            optimizer.state[parameter] = {"step": state[f"step.{name}"], **moments}
    history: list[dict[str, float]] = json.loads((folder / _HISTORY).read_text("utf-8"))
    return Resumed(int(latest.record.config["step"]), history)


def drop(store: ArtifactStore, student: Work) -> None:
    """Delete all checkpoints of a finished run."""
    for artifact in _of_run(store, student):
        store.discard(artifact)


def _of_run(store: ArtifactStore, student: Work) -> list[Artifact]:
    return [a for a in store.of_stage(STAGE) if a.record.config["student"] == student.fingerprint]


def _state(tail: Tail, optimizer: Optimizer) -> dict[str, Tensor]:
    tensors: dict[str, Any] = {}
    for name, parameter in tail.layers.named_parameters():
        tensors[f"weight.{name}"] = parameter.detach().contiguous()
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key}.{name}"] = value.contiguous()
    return tensors
