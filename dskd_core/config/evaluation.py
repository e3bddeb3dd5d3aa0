"""Which students are trained and compared, and on what."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from dskd_core.config.corpus import OtherTextConfig
from dskd_core.config.recipes import OLD_NAMES, Arm
from dskd_core.config.settings import (
    AnswerTokens,
    BatchTokens,
    Exemplars,
    Items,
    Seed,
    Settings,
    ShardTokens,
    Share,
    Text,
    Uri,
)
from dskd_core.errors import shown


class TaggedSourceConfig(Settings):
    """One set of words with known senses or relations, to judge every subject's states by."""

    kind: Literal[
        "wic",
        "coarse_wsd",
        "in_context",
        "pairs",
        "graded_pairs",
        "wordnet_examples",
        "wordnet_wic",
    ]
    """The format: wic (X.data.txt and X.gold.txt), coarse_wsd (a folder for each word),
    in_context (a table or JSONL of word, sense, sentence), pairs (word_a, word_b, label),
    graded_pairs (word_a, word_b, and people's mean rating, as SimLex-999 has it), or the example
    sentences of a WordNet folder: wordnet_examples, wordnet_wic (pairs of them)."""
    uri: Uri
    """The file or folder."""
    name: Text | None = None
    """What reports call it; the file's or folder's name if empty."""
    state: Literal["as_filed", "before", "at"] = "as_filed"
    """Which state stands for a token in its context: the one before it, which predicts it, or its
    own. as_filed: as the dictionary's embeddings were filed: before for the keys predicted and
    next, at for input. Pairs are always at: they have no context before them."""
    train_share: Share = 0.5
    """Share of the items that labels senses and sets thresholds, where the source has no train
    part of its own; the others are scored."""
    max_items: Items | None = None
    """Most items read of each split, a sample fixed by their content; all if empty."""
    batch_tokens: BatchTokens = 4096
    """Tokens (padding included) of one batch of sentences."""


class BenchmarkConfig(Settings):
    """One benchmark that teacher and students are scored on."""

    task: Literal["arc", "commonsense_qa", "mmlu", "piqa", "squad"]
    """Which benchmark; it decides the file's format, the prompt's wording and the metric."""
    uri: Uri
    """The file or folder its authors publish, or hf:NAME (a datasets name)."""
    labels_uri: Uri | None = None
    """PIQA's separate file of labels."""
    exemplars_uri: Uri | None = None
    """Where exemplars come from: train or dev questions in the same format; the evaluated file
    itself, without the item, if empty (as SQuAD needs it, whose exemplar shares the paragraph)."""
    exemplars_labels_uri: Uri | None = None
    """PIQA's file of labels of the exemplars."""
    n_exemplars: Exemplars = 5
    """Answered questions before each item (1 for squad in the paper)."""
    answer_tokens: AnswerTokens = 1
    """Tokens generated as the answer in the paper's protocol (10 for squad in the paper)."""
    max_items: Items | None = None
    """Score so many items only, a sample fixed by the seed; all of them if empty."""


class EvaluationConfig(Settings):
    """How students are compared."""

    arms: Annotated[tuple[Arm, ...], Field(max_length=16)] = ("kd", "paper", "kd_mse")
    """Recipes to compare: built-in ones or names of training.recipes. kd: both sense weights 0.
    paper: Eq. 3-5 with the training settings as they are. recommended: KD from a fitted
    start, see docs/results.md; it needs a gap between the layers copied. Controls: kd_mse, KD plus
    plain MSE to the teacher's state; paper_own, the next token's own senses only; paper_shuffled,
    every token given another's relations; paper_no_hinge, no push from antonyms."""
    seeds: Annotated[tuple[Seed, ...], Field(max_length=1000)] = (0, 1, 2)
    """Every arm is trained once with each; at most 1,000."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Level of the intervals."""
    n_resamples: Annotated[int, Field(ge=1, le=100_000)] = 2000
    """Bootstrap resamples of an interval. A hundred thousand settle its second digit."""
    benchmarks: Annotated[tuple[BenchmarkConfig, ...], Field(max_length=100)] = ()
    """The benchmarks teacher and students are scored on; none if empty."""
    protocols: Annotated[tuple[Literal["paper", "harness"], ...], Field(max_length=2)] = ("paper",)
    """paper: chat template, exemplars of the same kind, generated answer. harness:
    lm-evaluation-harness's own tasks, by log-likelihood (needs the extra eval)."""
    benchmark_batch_tokens: BatchTokens = 8192
    """Tokens (padding included) of one batch of benchmark items."""
    benchmark_shard_tokens: ShardTokens = 131_072
    """Prompt tokens a shard of benchmark items: the unit of work and of retry."""
    benchmark_seed: Seed = 0
    """Fixes the sample of items and the exemplars of the paper's protocol."""
    tagged: Annotated[tuple[TaggedSourceConfig, ...], Field(max_length=100)] = ()
    """Words with known senses or relations that every subject is scored on."""
    other_texts: Annotated[tuple[OtherTextConfig, ...], Field(max_length=8)] = ()
    """Text of other domains that every subject is scored on, too; nothing of it is trained on."""
    n_continuations: Annotated[int, Field(ge=0, le=100)] = 3
    """Beginnings of held-out documents that the teacher and one student of each arm, of the first
    four, go on with; shown at the end of a report and of a run. None if 0."""

    @field_validator("arms", mode="before")
    @classmethod
    def _have_their_names(cls, arms: Any) -> Any:
        """Take the older names of parameter files for those of today."""
        if isinstance(arms, list | tuple):
            return tuple(OLD_NAMES.get(a, a) if isinstance(a, str) else a for a in arms)
        return arms

    @field_validator("arms")
    @classmethod
    def _kd_is_the_yardstick(cls, arms: tuple[str, ...]) -> tuple[str, ...]:
        if "kd" not in arms:
            raise ValueError(f"arms {arms} lack 'kd'; every other arm is compared with it: add it")
        if len(set(arms)) < len(arms):
            raise ValueError(f"arms {arms} name one twice; name each once")
        return arms

    @field_validator("seeds")
    @classmethod
    def _each_seed_once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
            raise ValueError(
                f"seeds name {shown(twice)} more than once, which would be one student counted as "
                "several; name each once"
            )
        return seeds

    @field_validator("other_texts")
    @classmethod
    def _other_texts_have_names_of_their_own(
        cls, texts: tuple[OtherTextConfig, ...]
    ) -> tuple[OtherTextConfig, ...]:
        names = [text.name for text in texts]
        if len(set(names)) < len(names):
            raise ValueError(f"other_texts {names} name one twice; give each a name of its own")
        return texts
