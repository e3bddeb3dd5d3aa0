"""Where a run gets the activations of a window from: the store, or the teacher beside it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import psutil
from numpy.typing import NDArray

from dskd_core.config import TeacherConfig, TrainingConfig
from dskd_core.corpus.store import Windows, load_windows
from dskd_core.errors import ConfigError
from dskd_core.store.artifacts import Artifact, ArtifactStore
from dskd_core.training.activations.capture import (
    Capturer,
    WindowActivations,
    WindowStates,
    labels_of,
    roles_of,
    sample_windows,
)
from dskd_core.training.activations.layout import SHARD, StoredShard, places_of

_MEMORY_SHARE = 0.25


class ActivationReader(Protocol):
    """Where a run gets the activations of a window from."""

    @property
    def training(self) -> Sequence[int]:
        """Windows to train on, ascending."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Positions of each window to train on, the prefix counted."""

    def labels(self, window: int) -> NDArray[np.int64]:
        """Return x_(t+1) at every position of a window, -1 where there is none."""

    def roles(self, window: int) -> NDArray[np.int64]:
        """Return what the label of every position of a window is."""

    def read(self, windows: Sequence[int]) -> Sequence[WindowStates]:
        """Return what the teacher left in windows."""


class StoredActivations:
    """All captured windows; the states in memory where they take less than a quarter of it."""

    def __init__(
        self,
        artifact: Artifact,
        store: ArtifactStore,
        *,
        validation_share: float = 0.0,
        reads_gap: bool = False,
        temperatures: Collection[float] = (),
    ) -> None:
        """Open the shards of an ``activations`` artifact.

        ``temperatures`` are those whose targets are read besides those at training.temperature.

        Raises:
            ArtifactError: if a shard is gone.
            ConfigError: if documents are wanted for validation and fewer than two are held out.
        """
        shards = store.shards_of(artifact)
        n_bytes = sum(shard.record.n_bytes for shard in shards)
        in_memory = n_bytes < _MEMORY_SHARE * psutil.virtual_memory().total
        opened = [
            StoredShard(
                shard.group(SHARD),
                in_memory=in_memory,
                reads_gap=reads_gap,
                temperatures=temperatures,
            )
            for shard in shards
        ]
        places = places_of(opened)
        self._places = {window: places[window] for window in sorted(places)}
        is_kept = {window: shard.heldout[index] for window, (shard, index) in self._places.items()}
        kept = [window for window in is_kept if is_kept[window]]
        self.training = [window for window in is_kept if not is_kept[window]]
        validation = self._validation(kept, validation_share)
        self.validation = [window for window in kept if self.document_hash(window) in validation]
        self.heldout = [window for window in kept if self.document_hash(window) not in validation]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Positions of each window to train on, the prefix counted."""
        places = (self._places[window] for window in self.training)
        return np.array([shard.length(index) for shard, index in places])

    def document_hash(self, window: int) -> int:
        """Return the hash of a window's document."""
        shard, index = self._places[window]
        return int(shard.document_hashes[index])

    def labels(self, window: int) -> NDArray[np.int64]:
        """Return x_(t+1) at every position of a window, -1 where there is none."""
        return self._rows(window, "labels").astype(np.int64)

    def roles(self, window: int) -> NDArray[np.int64]:
        """Return what the label of every position of a window is."""
        return self._rows(window, "roles").astype(np.int64)

    def read(self, windows: Sequence[int]) -> list[WindowActivations]:
        """Return the activations of windows, states in the dtype they are stored in."""
        places = [self._places[window] for window in windows]
        return [shard.read(index) for shard, index in places]

    def _rows(self, window: int, name: str) -> NDArray[Any]:
        shard, index = self._places[window]
        return shard.rows(index, name)

    def _validation(self, heldout: list[int], share: float) -> set[int]:
        """Choose held-out documents for validation, at least one: those of the smallest hashes."""
        if not share:
            return set()
        documents = sorted({self.document_hash(window) for window in heldout})
        if len(documents) < 2:
            raise ConfigError(
                f"training.validation_steps needs two held-out documents, one to validate on and "
                f"one to score on; there are {len(documents)}: raise corpus.heldout_share."
            )
        return set(documents[: min(len(documents) - 1, max(1, int(share * len(documents))))])


@dataclass(frozen=True)
class LiveActivations:
    """The teacher beside the student: the activations of a window, made when they are needed."""

    capturer: Capturer
    windows: Windows
    training: list[int]

    @classmethod
    def load(
        cls,
        config: TrainingConfig,
        teacher_config: TeacherConfig,
        teacher: Artifact,
        untrained: Artifact,
        text: Artifact,
    ) -> "LiveActivations":
        """Load the teacher and choose the windows to train on."""
        windows = load_windows(text)
        training = sample_windows(windows, heldout=False, budget=config.max_train_tokens)
        capturer = Capturer.load(teacher, untrained, teacher_config, reads_gap=config.reads_gap)
        reader = cls(capturer, windows, training.tolist())
        if not config.compile_layers:
            return reader
        return replace(reader, capturer=capturer.compiled(int(reader.lengths.max())))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Positions of each window to train on, the prefix counted."""
        return len(self.windows.prefix) + self.windows.lengths[self.training]

    def labels(self, window: int) -> NDArray[np.int64]:
        """Return x_(t+1) at every position of a window, -1 where there is none."""
        return labels_of(self.windows, window)

    def roles(self, window: int) -> NDArray[np.int64]:
        """Return what the label of every position of a window is."""
        return roles_of(self.windows, window)

    def read(self, windows: Sequence[int]) -> list[WindowStates]:
        """Run the teacher over windows; its targets are formed with the loss."""
        return self.capturer.run(self.windows, np.asarray(windows))
