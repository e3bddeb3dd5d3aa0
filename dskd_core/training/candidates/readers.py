"""Where a run gets the candidates of a position from: the store, or the teacher's state."""

from collections.abc import Sequence
from dataclasses import replace
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
from dskd_core.training.candidates.nearest import Candidates, for_ranking, nearest_on_device
from dskd_core.training.candidates.store import group_name


class CandidateReader(Protocol):
    """Where a run gets candidates from: the store, or the dictionary and the teacher's state."""

    def select(
        self, windows: Sequence[WindowStates], chosen: Sequence[NDArray[np.int64]]
    ) -> Candidates:
        """Return the candidates of positions of windows, those of one window after the other's."""


class StoredCandidates:
    """The candidates of an artifact, in memory (8 kappa bytes a position, 12 with synonyms)."""

    def __init__(self, artifact: Artifact, n_shards: int, *, with_synonyms: bool = False) -> None:
        """Read an artifact.

        ``with_synonyms``: the synonyms of positions with antonyms are wanted by themselves.
        """
        self._names = ["positives", "negatives", *(["synonyms"] if with_synonyms else [])]
        groups = [artifact.group(group_name(number)) for number in range(n_shards)]
        self._rows = {name: [get_array(group, name) for group in groups] for name in self._names}
        self._places = {
            int(window): (shard, slice(int(start), int(stop)))
            for shard, group in enumerate(groups)
            for window, start, stop in _spans(group)
        }

    def read(self, window: WindowStates, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return positives and negatives, [n, kappa] int64 each, of positions of a window."""
        positives, negatives = self._stored(window, positions.numpy())[:2]
        return torch.from_numpy(positives), torch.from_numpy(negatives)

    def select(
        self, windows: Sequence[WindowStates], chosen: Sequence[NDArray[np.int64]]
    ) -> Candidates:
        """Return the candidates of positions of windows, on the host."""
        found = [self._stored(window, here) for window, here in zip(windows, chosen, strict=True)]
        positives, negatives, *more = (
            np.concatenate(column) for column in zip(*found, strict=True)
        )
        opposed = np.flatnonzero((negatives >= 0).any(axis=1))
        return Candidates(
            torch.from_numpy(positives),
            torch.from_numpy(negatives),
            torch.from_numpy(opposed),
            torch.from_numpy(more[0][opposed]) if more else None,
        )

    def _stored(
        self, window: WindowStates, positions: NDArray[np.int64]
    ) -> list[NDArray[np.int64]]:
        shard, rows = self._places[window.window]
        return [self._rows[name][shard][rows][positions].astype(np.int64) for name in self._names]


class LiveCandidates:
    """The candidates found when they are asked for, from the teacher's states, where these are."""

    def __init__(
        self,
        dictionary: Dictionary,
        rows: Tensor,
        n_candidates: int,
        *,
        with_synonyms: bool = False,
    ) -> None:
        """Take a dictionary.

        Its ``rows``, [r, d], are on the teacher's device. ``with_synonyms``: the synonyms of
        positions with antonyms are wanted by themselves.
        """
        self._ranked = for_ranking(dictionary) if with_synonyms else None
        self._dictionary, self._rows, self._n_candidates = dictionary, rows, n_candidates

    def select(
        self, windows: Sequence[WindowStates], chosen: Sequence[NDArray[np.int64]]
    ) -> Candidates:
        """Return the candidates of positions of windows, on the teacher's device."""
        starts = np.cumsum([0, *(len(window.labels) for window in windows)])[:-1]
        places = np.concatenate([start + here for start, here in zip(starts, chosen, strict=True)])
        states = torch.cat([window.teacher_states for window in windows])
        states = states.index_select(0, onto(torch.from_numpy(places), states.device))
        labels = torch.cat([window.labels for window in windows]).numpy()[places]
        found = self._nearest(states, labels, self._dictionary)
        if self._ranked is None:
            return found
        opposed = states.index_select(0, onto(found.opposed, states.device))
        ranked = self._nearest(opposed, labels[found.opposed.numpy()], self._ranked)
        return replace(found, synonyms=ranked.positives)

    def _nearest(
        self, states: Tensor, labels: NDArray[np.int64], dictionary: Dictionary
    ) -> Candidates:
        n = self._n_candidates
        return nearest_on_device(states, labels, dictionary, self._rows, n_candidates=n)


def _spans(group: zarr.Group) -> zip:  # type: ignore[type-arg]
    offsets = get_array(group, "offsets")
    return zip(get_array(group, "windows"), offsets[:-1], offsets[1:], strict=True)
