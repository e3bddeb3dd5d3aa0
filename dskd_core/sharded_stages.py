"""The stages that are made in shards, each described once.

Building a run, retrying what failed, surveying what is missing and the plan's advice on shards all
read this. A description holds no result: it says how the shards of a stage are listed, made and
collected, from which artifacts, and which setting sizes them.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, ClassVar

from dskd_core.config import PipelineConfig
from dskd_core.progress import Progress
from dskd_core.shards import Shard
from dskd_core.store.artifacts import Artifact, ArtifactStore

if TYPE_CHECKING:
    from dskd_core.lexicon.store import FoundSource
    from dskd_core.training.activations.store import Mode


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
    in_one_task: ClassVar[bool] = False
    """Whether collecting makes what is missing, too: the shards are small, and need no worker."""
    writes_beside: ClassVar[bool] = False
    """Whether a shard holds the device only while it is computed, so that the next one of the same
    process is computed while it is written."""

    @classmethod
    def is_part_of(cls, config: PipelineConfig) -> bool:
        """Say whether a run of these settings makes it: where all is precomputed, few are."""
        return not cls.needs or config.training.mode != "precomputed"

    @abstractmethod
    def shards(self) -> list[Shard]:
        """List its shards: the same list for every caller."""

    @abstractmethod
    def make(self, shard: Shard, progress: Progress) -> Artifact:
        """Make one shard, or find it made."""

    @abstractmethod
    def collect(self, shards: Sequence[Artifact], progress: Progress) -> Artifact:
        """Join all shards into the artifact of the stage, or find it made."""


class LexiconStage(ShardedStage):
    """What the sources say of words, file by file, range by range of lines."""

    name = "lexicon"
    needs = ()
    shard_setting = "lexicon.shard_bytes"
    in_one_task = True

    @cached_property
    def _ranges(self) -> list[tuple["FoundSource", int]]:
        """The sources, hashed once, each with the number of one of its ranges."""
        from dskd_core.lexicon.store import find_sources

        sources = chain.from_iterable(find_sources(self.config.lexicon).values())
        return [(source, index) for source in sources for index in range(len(source.ranges))]

    def shards(self) -> list[Shard]:
        """Cut the files."""
        ranges = [source.ranges[index] for source, index in self._ranges]
        return [Shard(i, len(ranges), start, stop) for i, (start, stop) in enumerate(ranges)]

    def make(self, shard: Shard, progress: Progress) -> Artifact:
        """Read one range of a file."""
        from dskd_core.lexicon.store import read_shard

        source, index = self._ranges[shard.index]
        found = read_shard(self.store, self.config.lexicon, source, index, lambda n_bytes: None)
        progress(shard.stop - shard.start, shard.stop - shard.start, "bytes")
        return found

    def collect(self, shards: Sequence[Artifact], progress: Progress) -> Artifact:
        """Join what all files say, read where it is not yet."""
        from dskd_core.lexicon.store import build_lexicon

        return build_lexicon(self.store, self.config.lexicon, progress=progress)


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

    def collect(self, shards: Sequence[Artifact], progress: Progress) -> Artifact:
        """Index all shards by token."""
        from dskd_core.embeddings.store import collect_embeddings

        teacher, corpus = self.inputs["teacher"], self.inputs["corpus"]
        return collect_embeddings(self.store, self.config.embeddings, teacher, corpus, shards)


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

    def collect(self, shards: Sequence[Artifact], progress: Progress) -> Artifact:
        """Join the ranges into the sense inventory, and show each sense in text."""
        from dskd_core.senses.store import collect_senses

        return collect_senses(
            self.store,
            self.config.senses,
            self.inputs["embeddings"],
            self.inputs["corpus"],
            self.inputs["teacher"],
            shards,
            progress=progress,
        )


class PromptsStage(ShardedStage):
    """Benchmark questions as chat prompts, with the teacher's answers."""

    name = "prompts"
    needs = ("teacher", "questions")
    shard_setting = "prompts.shard_tokens"

    @classmethod
    def is_part_of(cls, config: PipelineConfig) -> bool:
        """Say whether benchmarks are named as text to train on."""
        return bool(config.prompts.sources) and super().is_part_of(config)

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

    def collect(self, shards: Sequence[Artifact], progress: Progress) -> Artifact:
        """Join prompts and answers into windows."""
        from dskd_core.prompts.store import collect_prompts

        teacher, questions = self.inputs["teacher"], self.inputs["questions"]
        return collect_prompts(self.store, self.config.prompts, teacher, questions, shards)


class ActivationsStage(ShardedStage):
    """What the teacher leaves for training: all windows', or online a sample and the held-out."""

    name = "activations"
    needs = ("teacher", "text", "untrained")
    shard_setting = ""

    @cached_property
    def _mode(self) -> "Mode":
        """Whether the teacher runs once or online.

        Raises:
            CapacityError: if ``training.mode`` is cached and the activations exceed their budget.
        """
        from dskd_core.training.activations.store import resolve_mode

        return resolve_mode(self.config.training, self.inputs["untrained"], self.inputs["text"])

    def shards(self) -> list[Shard]:
        """Cut the batches of the windows to capture."""
        from dskd_core.training.activations.store import capture_shards

        return capture_shards(self.inputs["text"], self.config.training, self._mode)

    def make(self, shard: Shard, progress: Progress) -> Artifact:
        """Keep what training needs of the teacher over one shard."""
        from dskd_core.training.activations.store import capture_shard

        return capture_shard(
            self.store,
            self.config.training,
            self.config.teacher,
            self.inputs["teacher"],
            self.inputs["untrained"],
            self.inputs["text"],
            self._mode,
            shard,
            progress=progress,
        )

    def collect(self, shards: Sequence[Artifact], progress: Progress) -> Artifact:
        """Join the shards."""
        from dskd_core.training.activations.store import collect_activations

        untrained, text = self.inputs["untrained"], self.inputs["text"]
        return collect_activations(
            self.store, self.config.training, untrained, text, self._mode, shards
        )


SHARDED_STAGES: tuple[type[ShardedStage], ...] = (
    LexiconStage,
    EmbeddingsStage,
    SensesStage,
    PromptsStage,
    ActivationsStage,
)
"""In the order in which a run makes them."""
