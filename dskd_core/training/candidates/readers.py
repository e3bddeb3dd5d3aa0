"""Where a run gets the candidates of a position from: the store, or the teacher's state."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from torch import Tensor

from dskd_core.decoder.placement import onto
from dskd_core.dictionary.store import Dictionary
from dskd_core.store.arrays import get_array
from dskd_core.store.artifacts import Artifact
from dskd_core.training.activations.capture import WindowStates
from dskd_core.training.candidates.nearest import Candidates, nearest_on_device
from dskd_core.training.candidates.store import part_name


class CandidateReader(Protocol):
    """Where a run gets candidates from: the store, or the dictionary and the teacher's state."""

    def select(
        self, windows: Sequence[WindowStates], chosen: Sequence[NDArray[np.int64]]
    ) -> Candidates:
        """Return the candidates of positions of windows, those of one window after the other's."""


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
        positives, negatives = self._of(window, positions.numpy())
        return torch.from_numpy(positives), torch.from_numpy(negatives)

    def select(
        self, windows: Sequence[WindowStates], chosen: Sequence[NDArray[np.int64]]
    ) -> Candidates:
        """Return the candidates of positions of windows, on the host."""
        found = [self._of(window, here) for window, here in zip(windows, chosen, strict=True)]
        positives, negatives = (np.concatenate(column) for column in zip(*found, strict=True))
        pushed = np.flatnonzero((negatives >= 0).any(axis=1))
        return Candidates(*map(torch.from_numpy, (positives, negatives, pushed)))

    def _of(
        self, window: WindowStates, positions: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        part, rows = self._places[window.window]
        positives, negatives = (
            self._rows[name][part][rows][positions].astype(np.int64)
            for name in ("positives", "negatives")
        )
        return positives, negatives


class LiveCandidates:
    """The candidates found when they are asked for, from the teacher's states, where these are."""

    def __init__(self, dictionary: Dictionary, senses: Tensor, n_candidates: int) -> None:
        """Take a dictionary.

        Args:
            dictionary: which rows belong to a token.
            senses: [r, d], its rows, on the teacher's device.
            n_candidates: kappa.
        """
        self._dictionary, self._senses, self._n_candidates = dictionary, senses, n_candidates

    def select(
        self, windows: Sequence[WindowStates], chosen: Sequence[NDArray[np.int64]]
    ) -> Candidates:
        """Return the candidates of positions of windows, on the teacher's device."""
        starts = np.cumsum([0, *(len(window.labels) for window in windows)])[:-1]
        places = np.concatenate([start + here for start, here in zip(starts, chosen, strict=True)])
        states = torch.cat([window.teacher_states for window in windows])
        return nearest_on_device(
            states.index_select(0, onto(torch.from_numpy(places), states.device)),
            torch.cat([window.labels for window in windows]).numpy()[places],
            self._dictionary,
            self._senses,
            n_candidates=self._n_candidates,
        )


def _spans(group: zarr.Group) -> zip:  # type: ignore[type-arg]
    offsets = get_array(group, "offsets")
    return zip(get_array(group, "windows"), offsets[:-1], offsets[1:], strict=True)
