"""Windows put one after the other, as the objective takes them."""

from collections.abc import Sequence

import numpy as np
import torch

from dskd_core.decoder.placement import onto
from dskd_core.training.activations.capture import WindowActivations, WindowStates
from dskd_core.training.candidates.nearest import Candidates
from dskd_core.training.loop.schedule import Step
from dskd_core.training.losses.objective import Batch
from dskd_core.training.losses.targets import TeacherTargets
from dskd_core.training.student.tail import padded_entering


def make_batch(
    windows: Sequence[WindowStates],
    micro_batch: Step,
    candidates: Candidates,
    device: torch.device,
    *,
    with_bridge: bool = False,
    other_temperature: float | None = None,
) -> Batch:
    """Put the positions of windows one after the other, on a device that nobody waits for.

    ``windows`` are those of ``micro_batch``, in its order. Targets are those at
    ``other_temperature``, at training.temperature if None.
    """
    starts = np.cumsum([0, *(len(window.labels) for window in windows)])
    chosen = [start + within for start, within in zip(starts[:-1], micro_batch.chosen, strict=True)]
    left = _targets(windows, other_temperature)
    weights, labels = np.concatenate(micro_batch.weights), torch.cat([w.labels for w in windows])
    scored = np.flatnonzero((weights.astype(np.float32) != 0.0) & (labels.numpy() >= 0))
    bridge = [w.bridge for w in windows if w.bridge is not None] if with_bridge else []
    entering, real = padded_entering([window.entering for window in windows])
    return Batch(
        entering=onto(entering, device).float(),
        real=None if real is None else onto(real, device),
        labels=onto(labels, device),
        teacher_states=onto(torch.cat([w.teacher_states for w in windows]), device).float(),
        targets=TeacherTargets.from_windows(left).to(device) if left else None,
        weights=onto(torch.from_numpy(weights).float(), device),
        scored=onto(torch.from_numpy(scored), device),
        chosen=onto(torch.from_numpy(np.concatenate(chosen)), device),
        positives=onto(candidates.positives, device),
        negatives=onto(candidates.negatives, device),
        opposed=onto(candidates.opposed, device),
        bridge=onto(torch.cat(bridge), device).float() if bridge else None,
        synonyms=None if candidates.synonyms is None else onto(candidates.synonyms, device),
    )


def _targets(
    windows: Sequence[WindowStates], other_temperature: float | None
) -> list[TeacherTargets]:
    """Return what the teacher's distribution left in each window; nothing where none was kept."""
    kept = [window for window in windows if isinstance(window, WindowActivations)]
    if other_temperature is None:
        return [window.targets for window in kept]
    return [
        window.other_targets[other_temperature]
        for window in kept
        if other_temperature in window.other_targets
    ]
