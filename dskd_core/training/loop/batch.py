"""Windows put one after the other, as the objective takes them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dskd_core.training.activations.capture import WindowActivations, WindowStates
from dskd_core.training.loop.schedule import Step
from dskd_core.training.losses.objective import Batch
from dskd_core.training.losses.targets import TeacherTargets


def make_batch(
    windows: Sequence[WindowStates],
    share: Step,
    positives: Tensor,
    negatives: Tensor,
    device: torch.device,
) -> Batch:
    """Put the positions of windows one after the other.

    Args:
        windows: what the teacher left in the windows of ``share``, in its order.
        share: with the weights and the chosen positions of each window.
        positives: [s, kappa] int64, rows for all chosen positions.
        negatives: likewise.
        device: where the loss is computed.
    """
    starts = np.cumsum([0, *(len(window.labels) for window in windows)])
    chosen = [start + within for start, within in zip(starts[:-1], share.chosen, strict=True)]
    left = [window.targets for window in windows if isinstance(window, WindowActivations)]
    return Batch(
        *padded_entering(windows),
        labels=torch.cat([window.labels for window in windows]).to(device),
        teacher_states=torch.cat([window.teacher_states for window in windows]).to(device),
        targets=TeacherTargets.from_windows(left).to(device) if left else None,
        weights=torch.from_numpy(np.concatenate(share.weights)).float().to(device),
        chosen=torch.from_numpy(np.concatenate(chosen)).to(device),
        positives=positives.to(device),
        negatives=negatives.to(device),
    )


def padded_entering(windows: Sequence[WindowStates]) -> tuple[Tensor, Tensor]:
    """Pad the states that enter the tail: [n_windows, length, d], and which are real."""
    lengths = [len(window.labels) for window in windows]
    first = windows[0].entering
    entering = first.new_zeros(len(windows), max(lengths), first.shape[1])
    for line, window in enumerate(windows):
        entering[line, : lengths[line]] = window.entering
    real = torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]
    return entering, real
