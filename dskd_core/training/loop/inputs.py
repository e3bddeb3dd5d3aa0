"""What a student is made from, and where its run reads that."""

from dataclasses import dataclass

from torch import Tensor

from dskd_core.config import Arm, TeacherConfig, TrainingConfig
from dskd_core.dictionary.store import Dictionary
from dskd_core.store.artifacts import Artifact, ArtifactStore, Work
from dskd_core.training.activations.readers import (
    ActivationReader,
    LiveActivations,
    StoredActivations,
)
from dskd_core.training.candidates.controls import controlled
from dskd_core.training.candidates.readers import (
    CandidateReader,
    LiveCandidates,
    StoredCandidates,
)
from dskd_core.training.losses.recipes import Recipe, find_recipe, recipe_settings

_NOT_CONTENT = {
    "seed",
    "mode",
    "recipes",
    "max_activation_bytes",
    "log_steps",
    "checkpoint_steps",
    "n_checkpoints",
    "hub_repository",
    "trackers",
}
_OF_SENSES = {
    "n_candidates",
    "positive_weight",
    "negative_weight",
    "margin",
    "margin_quantile",
    "semantic_positions",
    "related_share",
    "min_related",
}


@dataclass(frozen=True)
class Inputs:
    """What a student is made from.

    Attributes:
        untrained: the student before training.
        activations: captured states: all windows', or online the held-out ones and a sample.
        dictionary: the senses.
        candidates: of the activations, for the relations of the arm.
        teacher: run beside the student in online mode; None otherwise.
        text: the windows themselves, in online mode; None otherwise.
    """

    untrained: Artifact
    activations: Artifact
    dictionary: Artifact
    candidates: Artifact
    teacher: Artifact | None = None
    text: Artifact | None = None

    def work(self, config: TrainingConfig, arm: Arm, seed: int) -> Work:
        """Describe the training of one arm; KD does not depend on senses, so does not name any."""
        has_senses = find_recipe(config, arm).has_sense_terms
        senses = {
            "dictionary": self.dictionary.fingerprint,
            "candidates": self.candidates.fingerprint,
        }
        left_out = _NOT_CONTENT if has_senses else _NOT_CONTENT | _OF_SENSES
        return Work(
            "student",
            config.model_dump(mode="json", exclude=left_out)
            | recipe_settings(config, arm)
            | {"arm": arm, "seed": seed},
            {
                "untrained-student": self.untrained.fingerprint,
                "activations": self.activations.fingerprint,
            }
            | (senses if has_senses else {}),
            version=3,
        )

    def activation_reader(
        self, store: ArtifactStore, config: TrainingConfig, teacher_config: TeacherConfig, arm: Arm
    ) -> ActivationReader:
        """Return where activations come from, with what an arm needs: the store, or the teacher."""
        if self.teacher is None or self.text is None:
            return StoredActivations(
                self.activations,
                store,
                validation_share=config.validated_share,
                reads_gap=find_recipe(config, arm).reads_gap,
                temperatures=(Recipe.from_config(config, arm, 0.0).temperature,),
            )
        return LiveActivations.load(config, teacher_config, self.teacher, self.untrained, self.text)

    def candidate_reader(
        self, config: TrainingConfig, dictionary: Dictionary, rows: Tensor, arm: Arm
    ) -> CandidateReader:
        """Return where candidates come from: the store, or the dictionary.

        ``rows`` of the dictionary are on the device: the loss reads them too.
        """
        recipe = find_recipe(config, arm)
        if self.teacher is None or self.text is None:
            n_shards = len(self.activations.record.report["parts"])
            return StoredCandidates(self.candidates, n_shards, with_synonyms=recipe.ranks_synonyms)
        related = controlled(dictionary, recipe.relations)
        return LiveCandidates(
            related, rows, config.n_candidates, with_synonyms=recipe.ranks_synonyms
        )
