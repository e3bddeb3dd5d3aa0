"""Where a run gets the candidates of a position from: the store, or the teacher's state."""

from typing import Protocol

import numpy as np
import torch
import zarr
from torch import Tensor

from dskd_core.dictionary.store import Dictionary
from dskd_core.store.arrays import get_array
from dskd_core.store.artifacts import Artifact
from dskd_core.training.activations.capture import WindowStates
from dskd_core.training.candidates.nearest import nearest_rows
from dskd_core.training.candidates.store import part_name


class CandidateReader(Protocol):
    """Where a run gets candidates from: the store, or the dictionary and the teacher's state."""

    def read(self, window: WindowStates, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return positives and negatives, [n, kappa] int64 each, of positions of a window."""


class StoredCandidates:
    """The candidates of an artifact, in memory (8 kappa bytes a position)."""

    def __init__(self, artifact: Artifact, n_parts: int) -> None:
        groups = [artifact.group(part_name(number)) for number in range(n_parts)]
        self._rows = {
            name: [get_array(group, name) for group in groups]
            for name in ("positives", "negatives")
        }
        self._places = {
            int(window): (part, slice(int(start), int(stop)))
            for part, group in enumerate(groups)
            for window, start, stop in _spans(group)
        }

    def read(self, window: WindowStates, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return positives and negatives, [n, kappa] int64 each, of positions of a window."""
        part, rows = self._places[window.window]
        positives, negatives = (
            torch.from_numpy(self._rows[name][part][rows].astype(np.int64))[positions]
            for name in ("positives", "negatives")
        )
        return positives, negatives


class LiveCandidates:
    """The candidates found when they are asked for, from the teacher's states."""

    def __init__(self, dictionary: Dictionary, n_candidates: int) -> None:
        self._dictionary, self._n_candidates = dictionary, n_candidates

    def read(self, window: WindowStates, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return positives and negatives, [n, kappa] int64 each, of positions of a window."""
        near = nearest_rows(
            window.teacher_states[positions.to(window.teacher_states.device)].float().cpu().numpy(),
            window.labels[positions].numpy(),
            self._dictionary,
            n_candidates=self._n_candidates,
        )
        return torch.from_numpy(near.positives).long(), torch.from_numpy(near.negatives).long()


def _spans(group: zarr.Group) -> zip:  # type: ignore[type-arg]
    offsets = get_array(group, "offsets")
    return zip(get_array(group, "windows"), offsets[:-1], offsets[1:], strict=True)
