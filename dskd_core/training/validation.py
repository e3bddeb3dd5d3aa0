"""The student on held-out documents while it trains; they are left out of the final scores."""

from dataclasses import dataclass

import numpy as np
import torch

from dskd_core.artifacts import Artifact, ArtifactStore
from dskd_core.config import TrainingConfig
from dskd_core.training.activations import Activations, Source
from dskd_core.training.objective import Batch, Objective
from dskd_core.training.steps import Schedule, Step

_BATCH_WINDOWS = 8


@dataclass(frozen=True)
class Validation:
    """The windows of the validation documents, every position weighted as in training.

    Attributes:
        source: the captured activations.
        windows: all of them as one step, without L_sem.
    """

    source: Activations
    windows: Step

    @classmethod
    def of(
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
        source = training
        if not isinstance(source, Activations):
            source = Activations(captured, store, validation_share=config.validation_share)
        members = tuple(source.validation)
        schedule = Schedule(config, source, None, None, config.seed)
        weights = tuple(schedule.weights(window) for window in members)
        return cls(source, Step(members, weights, (np.empty(0, dtype=np.int64),) * len(members)))

    def is_due(self, n_done: int, n_steps: int, config: TrainingConfig) -> bool:
        """Say whether to validate after so many steps: every n-th, and the last."""
        return n_done % (config.validation_steps or 1) == 0 or n_done == n_steps

    @torch.no_grad()
    def score(self, objective: Objective) -> dict[str, float]:
        """Return ``validation_ce`` and ``validation_kl`` in nats: weighted means over positions."""
        totals = {"ce": 0.0, "kl": 0.0}
        none = torch.empty(0, 1, dtype=torch.int64)
        for share in self.windows.dealt(-(-len(self.windows.windows) // _BATCH_WINDOWS)):
            windows = self.source.read(share.windows)
            batch = Batch.of(windows, share, none, none, objective.head.weight.device)
            _, terms = objective.of(batch, self.windows)
            totals = {name: total + terms[name] for name, total in totals.items()}
        return {f"validation_{name}": total for name, total in totals.items()}
