"""The stages that are made in shards, each described once.

Building a run, retrying what failed, surveying what is missing and the plan's advice on shards all
read this. A description holds no result: it says how the shards of a stage are listed, made and
collected, from which artifacts, and which setting sizes them.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from dskd_core.config import PipelineConfig
from dskd_core.progress import Progress
from dskd_core.shards import Shard
from dskd_core.store.artifacts import Artifact, ArtifactStore


@dataclass(frozen=True)
class ShardedStage(ABC):
    """A stage that is made in shards, of given artifacts.

    Attributes:
        store: where its shards are looked for and published.
        config: the settings of all stages.
        inputs: the artifacts named in ``needs``.
    """

    store: ArtifactStore
    config: PipelineConfig
    inputs: Mapping[str, Artifact]

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]
    """Names of its inputs, those that are made first in front."""
    shard_setting: ClassVar[str]
    """What a user raises for fewer and longer shards; empty where it is fixed."""
    writes_beside: ClassVar[bool] = False
    """Whether a shard holds the device only while it is computed, so that the next one of the same
    process is computed while it is written."""

    @abstractmethod
    def shards(self) -> list[Shard]:
        """List its shards: the same list for every caller."""

    @abstractmethod
    def make(self, shard: Shard, progress: Progress) -> Artifact:
        """Make one shard, or find it made."""

    @abstractmethod
    def collect(self, parts: Sequence[Artifact], progress: Progress) -> Artifact:
        """Join all shards into the artifact of the stage, or find it made."""


class EmbeddingsStage(ShardedStage):
    """The teacher's states over the corpus."""

    name = "embeddings"
    needs = ("teacher", "corpus")
    shard_setting = "embeddings.shard_tokens"
    writes_beside = True

    def shards(self) -> list[Shard]:
        """Cut the batches of the windows with something to keep."""
        from dskd_core.embeddings.store import plan_shards

        return plan_shards(self.inputs["corpus"], self.config.embeddings)

    def make(self, shard: Shard, progress: Progress) -> Artifact:
        """Run the teacher over one shard of the corpus."""
        from dskd_core.embeddings.store import extract_shard

        return extract_shard(
            self.store,
            self.config.embeddings,
            self.config.teacher,
            self.inputs["teacher"],
            self.inputs["corpus"],
            shard,
            progress=progress,
        )

    def collect(self, parts: Sequence[Artifact], progress: Progress) -> Artifact:
        """Index all parts by token."""
        from dskd_core.embeddings.store import collect_embeddings

        teacher, corpus = self.inputs["teacher"], self.inputs["corpus"]
        return collect_embeddings(self.store, self.config.embeddings, teacher, corpus, parts)


class SensesStage(ShardedStage):
    """Each token's embeddings, clustered range by range of tokens (Eq. 1)."""

    name = "senses"
    needs = ("teacher", "corpus", "embeddings")
    shard_setting = "senses.shard_rows"

    def shards(self) -> list[Shard]:
        """Cut the tokens into ranges."""
        from dskd_core.senses.store import plan_ranges

        return plan_ranges(self.inputs["embeddings"], self.store, self.config.senses)

    def make(self, shard: Shard, progress: Progress) -> Artifact:
        """Cluster the embeddings of one range of tokens."""
        from dskd_core.senses.store import cluster_range

        embeddings, corpus = self.inputs["embeddings"], self.inputs["corpus"]
        return cluster_range(
            self.store, self.config.senses, embeddings, corpus, shard, progress=progress
        )

    def collect(self, parts: Sequence[Artifact], progress: Progress) -> Artifact:
        """Join the ranges into the sense inventory, and show each sense in text."""
        from dskd_core.senses.store import collect_senses

        return collect_senses(
            self.store,
            self.config.senses,
            self.inputs["embeddings"],
            self.inputs["corpus"],
            self.inputs["teacher"],
            parts,
            progress=progress,
        )


class PromptsStage(ShardedStage):
    """Benchmark questions as chat prompts, with the teacher's answers."""

    name = "prompts"
    needs = ("teacher", "questions")
    shard_setting = "prompts.shard_tokens"

    def shards(self) -> list[Shard]:
        """Cut the prompts."""
        from dskd_core.prompts.store import plan_prompts

        return plan_prompts(self.inputs["questions"], self.config.prompts)

    def make(self, shard: Shard, progress: Progress) -> Artifact:
        """Let the teacher answer one shard of the prompts."""
        from dskd_core.prompts.store import answer_shard

        return answer_shard(
            self.store,
            self.config.prompts,
            self.config.teacher,
            self.inputs["teacher"],
            self.inputs["questions"],
            shard,
            progress=progress,
        )

    def collect(self, parts: Sequence[Artifact], progress: Progress) -> Artifact:
        """Join prompts and answers into windows."""
        from dskd_core.prompts.store import collect_prompts

        teacher, questions = self.inputs["teacher"], self.inputs["questions"]
        return collect_prompts(self.store, self.config.prompts, teacher, questions, parts)


class ActivationsStage(ShardedStage):
    """What the teacher leaves for training: all windows', or online a sample and the held-out."""

    name = "activations"
    needs = ("teacher", "text", "untrained")
    shard_setting = ""

    def shards(self) -> list[Shard]:
        """Cut the batches of the windows to capture.

        Raises:
            CapacityError: if ``training.mode`` is cached and they exceed their budget.
        """
        from dskd_core.training.activations.store import capture_shards, resolve_mode

        untrained, text = self.inputs["untrained"], self.inputs["text"]
        mode = resolve_mode(self.config.training, untrained, text)
        return capture_shards(text, self.config.training, mode)

    def make(self, shard: Shard, progress: Progress) -> Artifact:
        """Keep what training needs of the teacher over one shard."""
        from dskd_core.training.activations.store import capture_shard, resolve_mode

        untrained, text = self.inputs["untrained"], self.inputs["text"]
        return capture_shard(
            self.store,
            self.config.training,
            self.config.teacher,
            self.inputs["teacher"],
            untrained,
            text,
            resolve_mode(self.config.training, untrained, text),
            shard,
            progress=progress,
        )

    def collect(self, parts: Sequence[Artifact], progress: Progress) -> Artifact:
        """Join the shards."""
        from dskd_core.training.activations.store import collect_activations, resolve_mode

        untrained, text = self.inputs["untrained"], self.inputs["text"]
        mode = resolve_mode(self.config.training, untrained, text)
        return collect_activations(self.store, self.config.training, untrained, text, mode, parts)


SHARDED_STAGES: tuple[type[ShardedStage], ...] = (
    EmbeddingsStage,
    SensesStage,
    PromptsStage,
    ActivationsStage,
)
"""In the order in which a run makes them."""
