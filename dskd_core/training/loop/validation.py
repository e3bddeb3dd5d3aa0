"""The student on some of the held-out documents while it trains; the others are for its scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dskd_core.config import TrainingConfig
from dskd_core.store.artifacts import Artifact, ArtifactStore
from dskd_core.training.activations.readers import Activations, Source
from dskd_core.training.loop.schedule import Schedule, Step
from dskd_core.training.losses.objective import Batch, Objective

_BATCH_WINDOWS = 8


@dataclass(frozen=True)
class Validation:
    """Held-out windows, every position weighted as in training.

    Attributes:
        source: the captured activations.
        windows: all of them as one step, without L_sem.
    """

    source: Activations
    windows: Step

    @classmethod
    def from_activations(
        cls, store: ArtifactStore, config: TrainingConfig, captured: Artifact, training: Source
    ) -> "Validation | None":
        """Choose the windows, or return None where no validation is asked for.

        Args:
            store: where the parts of the activations are.
            config: of the training.
            captured: the activations; online, they hold the held-out windows too.
            training: what the run reads, used here too where it has the captured windows.
        """
        if config.validation_steps is None:
            return None
        source = _captured(store, config, captured, training)
        return cls(source, _whole(config, source, source.validation))

    def is_due(self, n_done: int, n_steps: int, config: TrainingConfig) -> bool:
        """Say whether to validate after so many steps: every n-th, and the last."""
        return n_done % (config.validation_steps or 1) == 0 or n_done == n_steps

    @torch.no_grad()
    def score(self, objective: Objective) -> dict[str, float]:
        """Return ``ce`` and ``kl`` in nats: weighted means over positions."""
        totals = {"ce": 0.0, "kl": 0.0}
        none = torch.empty(0, 1, dtype=torch.int64)
        for share in self.windows.dealt(-(-len(self.windows.windows) // _BATCH_WINDOWS)):
            windows = self.source.read(share.windows)
            batch = Batch.from_windows(windows, share, none, none, objective.head.weight.device)
            _, terms = objective.loss(batch, self.windows)
            totals = {name: total + terms[name] for name, total in totals.items()}
        return totals


def _captured(
    store: ArtifactStore, config: TrainingConfig, captured: Artifact, training: Source
) -> Activations:
    if isinstance(training, Activations):
        return training
    return Activations(captured, store, validation_share=config.validated_share)


def _whole(config: TrainingConfig, source: Activations, members: Sequence[int]) -> Step:
    """Return windows as one step, without L_sem."""
    schedule = Schedule(config, source, None, None, config.seed)
    weights = tuple(schedule.weights(window) for window in members)
    return Step(tuple(members), weights, (np.empty(0, dtype=np.int64),) * len(members))
