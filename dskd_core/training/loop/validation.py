"""The student on some of the held-out documents while it trains; the others are for its scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dskd_core.config import TrainingConfig
from dskd_core.store.artifacts import Artifact, ArtifactStore
from dskd_core.training.activations.readers import ActivationReader, StoredActivations
from dskd_core.training.candidates.nearest import Candidates
from dskd_core.training.loop.batch import make_batch
from dskd_core.training.loop.schedule import Schedule, Step
from dskd_core.training.losses.objective import Objective

_BATCH_WINDOWS = 8


@dataclass(frozen=True)
class Validation:
    """Held-out windows, every position weighted as in training.

    Attributes:
        activations: the captured ones.
        windows: all of them as one step, without L_sem.
    """

    activations: StoredActivations
    windows: Step

    @classmethod
    def from_activations(
        cls,
        store: ArtifactStore,
        config: TrainingConfig,
        captured: Artifact,
        training: ActivationReader,
    ) -> "Validation | None":
        """Choose the windows, or return None where no validation is asked for.

        ``training`` is what the run reads, used here, too, where it has the captured windows.
        """
        if config.validation_steps is None:
            return None
        activations = _captured(store, config, captured, training)
        return cls(activations, _whole(config, activations, activations.validation))

    def is_due(self, n_done: int, n_steps: int, config: TrainingConfig) -> bool:
        """Say whether to validate after so many steps: every n-th, and the last."""
        return n_done % (config.validation_steps or 1) == 0 or n_done == n_steps

    @torch.no_grad()
    def score(self, objective: Objective) -> dict[str, float]:
        """Return ``ce`` and ``kl`` in nats: weighted means over positions."""
        names, found = ("ce", "kl"), []
        none = Candidates.none(1)
        n_batches = -(-len(self.windows.windows) // _BATCH_WINDOWS)
        for micro_batch in self.windows.micro_batches(n_batches):
            windows = self.activations.read(micro_batch.windows)
            batch = make_batch(
                windows,
                micro_batch,
                none,
                objective.head.weight.device,
                other_temperature=objective.other_temperature,
            )
            _, terms = objective.loss(batch, total_weight=self.windows.total_weight, n_chosen=0)
            found.append(torch.stack([terms[name] for name in names]))
        columns = zip(*torch.stack(found).double().tolist(), strict=True)
        return {name: sum(column) for name, column in zip(names, columns, strict=True)}


def _captured(
    store: ArtifactStore, config: TrainingConfig, captured: Artifact, training: ActivationReader
) -> StoredActivations:
    if isinstance(training, StoredActivations):
        return training
    return StoredActivations(captured, store, validation_share=config.validated_share)


def _whole(config: TrainingConfig, activations: StoredActivations, members: Sequence[int]) -> Step:
    """Return windows as one step, without L_sem."""
    schedule = Schedule(config, activations, None, None, config.seed)
    weights = tuple(schedule.weights(window) for window in members)
    return Step(tuple(members), weights, (np.empty(0, dtype=np.int64),) * len(members))
