"""Every setting of dskd on one page, with the paper's symbol and number where it has one.

    name                paper   Llama-3-8B   Mistral-7B   where
    max_occurrences     -       2,000        2,000        EmbeddingsConfig
    n_senses            k       10           5            SensesConfig
    max_span            m       3            3            WordsConfig
    n_candidates        kappa   5            5            TrainingConfig
    positive_weight     beta_p  1.0          1.5          TrainingConfig
    negative_weight     beta_n  1.0          1.5          TrainingConfig
    margin              gamma   1.0          1.0          TrainingConfig
    kl_weight           alpha   0.7          0.7          TrainingConfig
    temperature         T       2.0          2.0          TrainingConfig
    learning_rate       -       1.5e-4       6e-5         TrainingConfig (summed over 3 ranks)

All are frozen pydantic models, so Prefect shows them as a form, with the docstring of each field
as its help text, and refuses a wrong value when a run is created.
"""

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dskd_core.credentials import check_no_credentials, refuse_in_form
from dskd_core.errors import ConfigError
from dskd_core.redaction import redact

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
# Credentials in an address stand before an "@". The pattern is part of the form, so the server
# refuses them when a run is created, before they are kept anywhere.
Uri = Annotated[str, Field(pattern=r"^(hf:[^:@]*(@[^:@]*)?|[^@]*|[^:]*)$")]
Name = Annotated[str, Field(pattern=r"^[^:@]*$")]
"""A name on the hub: of a repository, a revision, a configuration."""
Arm = Literal["kd", "dskd", "kd_mse", "dskd_own", "dskd_shuffled", "dskd_no_hinge"]


class Settings(BaseModel):
    """Frozen settings that refuse unknown keys, and credentials in any text."""

    # A value that is refused may be a secret in the wrong place: pydantic's message has none.
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
        json_schema_extra=refuse_in_form,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_credentials(cls, value: Any) -> Any:
        # The settings within settings look at theirs, and name them.
        return value if isinstance(value, dict | Settings) else check_no_credentials(value)


class TeacherConfig(Settings):
    """The frozen model whose states are read, and how it is run."""

    source: Uri = "sample:smollm2-135m"
    """A hub id, a local folder, a .gguf file, or sample:smollm2-135m (ships in a package)."""
    revision: Name | None = None
    """Branch, tag or commit of a hub id; ignored for files."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Precision of the teacher's weights and arithmetic; auto is what the device multiplies
    natively: bfloat16, on older GPUs float16, on most CPUs float32."""
    device: str = "auto"
    """A torch device such as cuda:0 or cpu; auto takes CUDA where there is one."""
    trust_remote_code: bool = False
    """Run Python code that a hub repository ships. Off unless you have read that code."""


class CorpusConfig(Settings):
    """The text the teacher reads, and how it is cut into windows."""

    source: Uri = "sample:enwiki-206"
    """A file, a folder of files, hf:NAME (a datasets name), or sample:enwiki-206."""
    format: Literal["auto", "mediawiki", "jsonl", "parquet", "text", "dataset"] = "auto"
    """How to read it; auto decides by the file's name."""
    text_field: str = "text"
    """The field or column with the text (jsonl, parquet, dataset)."""
    id_field: str = "id"
    """The field or column that names a document; absent values become file name and row."""
    dataset_config: Name | None = None
    """Configuration name of a datasets source."""
    dataset_split: str = "train"
    """Split of a datasets source."""
    window_tokens: Annotated[int, Field(ge=8)] = 256
    """Longest window in tokens; a window never crosses a document."""
    min_document_tokens: Count = 16
    """Shorter documents are skipped and counted."""
    max_document_tokens: Count | None = None
    """Read only the first so many tokens of a document; unlimited if empty."""
    max_tokens: Count | None = None
    """Stop taking documents (in an order fixed by the seed) beyond so many tokens."""
    heldout_share: Annotated[float, Field(ge=0.0, le=0.5)] = 0.05
    """Share of documents kept for evaluation: never embedded, never trained on."""
    seed: Seed = 0
    """Fixes which documents are taken and which are held out."""


class PromptSourceConfig(Settings):
    """One benchmark's training questions, as a source of prompts."""

    task: Literal["arc", "commonsense_qa", "mmlu", "piqa", "squad"]
    """Which benchmark; it decides the file's format and the prompt's wording."""
    uri: Uri
    """The file or folder its authors publish, or hf:NAME (a datasets name)."""
    labels_uri: Uri | None = None
    """PIQA's separate file of labels."""
    share: Share = 0.25
    """Share of its questions that is taken, a sample fixed by the seed."""
    max_prompts: Count | None = None
    """Most questions taken; unlimited if empty."""
    n_exemplars: Annotated[int, Field(ge=0)] = 5
    """Answered questions put before each one; squad takes them from the same paragraph."""
    answer_tokens: Count = 1
    """Tokens the teacher writes as the answer (10 for squad in the paper)."""


class PromptsConfig(Settings):
    """Few-shot chat prompts, answered by the teacher, that students are trained on."""

    sources: tuple[PromptSourceConfig, ...] = ()
    """The benchmarks; where there are none, students train on the corpus itself."""
    max_prompt_tokens: Annotated[int, Field(ge=32)] = 2048
    """Longer prompts are left out and counted."""
    batch_tokens: Count = 8192
    """Tokens (padding included) of one batch of prompts while the teacher answers."""
    shard_tokens: Count = 131_072
    """Prompt tokens a shard: the unit of work and of retry."""
    heldout_share: Annotated[float, Field(ge=0.0, le=0.5)] = 0.05
    """Share of the questions kept for evaluation."""
    seed: Seed = 0
    """Fixes the sample, the exemplars and what is held out."""


class EmbeddingsConfig(Settings):
    """Which of the teacher's final states are kept, and under which token."""

    key: Literal["predicted", "next", "input"] = "predicted"
    """The token a state is filed under: the teacher's argmax there, the next token, or its own."""
    max_occurrences: Count = 2000
    """At most so many occurrences of a token are kept, a uniform sample."""
    safety: Annotated[float, Field(ge=1.0)] = 4.0
    """How many times the cap is expected to be stored of a common token; only for predicted, whose
    counts are not known beforehand: a token predicted less than 1 / safety times as often as it is
    written may end with fewer rows than its cap, which is counted."""
    state_dtype: Literal["float16", "bfloat16", "float32"] = "float16"
    """How states are stored; bfloat16 is kept as uint16 bits, since Zarr has no such dtype."""
    shard_tokens: Count = 65_536
    """Corpus tokens a shard: the unit of work and of retry."""
    batch_tokens: Count = 4096
    """Tokens (padding included) of one teacher batch."""
    seed: Seed = 0
    """Seed of the sample."""


class SensesConfig(Settings):
    """k-means of each token's embeddings (Eq. 1)."""

    n_senses: Count = 5
    """k: senses a token. A token with no more embeddings than this keeps its rows."""
    choice: Literal["fixed", "adaptive"] = "fixed"
    """fixed: k for every token, as in the paper. adaptive: between 1 and max_senses, as many as
    lower a token's inertia by more than one price, which holds the total to max_bytes."""
    max_senses: Count = 12
    """Most senses of a token where the choice is adaptive."""
    max_bytes: Count | None = None
    """Bytes that all senses may take in 16 bits, where adaptive; what n_senses takes if empty."""
    n_sampled: Annotated[int, Field(ge=16)] = 1024
    """Tokens whose curves fix the price before any range is clustered, where adaptive."""
    backend: Literal["torch", "cuml", "sklearn"] = "torch"
    """Who clusters: torch (batched, CPU or GPU), cuml (NVIDIA), sklearn (the slow reference)."""
    device: str = "auto"
    """A torch device for the torch backend; auto takes CUDA where there is one."""
    n_restarts: Count = 10
    """k-means runs a token; the one of least inertia is kept."""
    max_iterations: Count = 100
    """Most Lloyd iterations of a run."""
    coarse_dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """Precision of the rounds that choose among starts, before the best is polished in float32.
    auto: bfloat16 where the device multiplies it natively, else float32."""
    shard_rows: Count = 100_000
    """Embedding rows a shard of tokens: the unit of work and of retry."""
    batch_bytes: Annotated[int, Field(ge=1 << 20)] = 256 << 20
    """Memory the torch backend may use for one batch of tokens."""
    n_examples: Annotated[int, Field(ge=0)] = 3
    """Nearest occurrences kept with their text for each sense."""
    context_tokens: Count = 16
    """Tokens of text shown on each side of an example."""
    seed: Seed = 0
    """Seed of the starting centroids."""


class SourceConfig(Settings):
    """One lexicon or morphology file."""

    kind: str
    """The reader: roget, wiktextract, word_pairs, synonym_pairs, antonym_pairs, wordnet, moby;
    for morphology morphynet, morpholex."""
    uri: Uri
    """The file (for wordnet the folder), or sample:roget or sample:morphynet."""
    licence: str | None = None
    """Licence of the rows, carried to the end; each reader knows its source's own."""
    made_on: date | None = None
    """The day a Wiktextract file was extracted, where you know it and its name does not say."""


class LexiconConfig(Settings):
    """The human sources of word relations."""

    sources: tuple[SourceConfig, ...] = (SourceConfig(kind="roget", uri="sample:roget"),)
    """Where pairs come from."""
    morphology: tuple[SourceConfig, ...] = (SourceConfig(kind="morphynet", uri="sample:morphynet"),)
    """Where affix segmentations come from, for the negation step."""
    language: str = "en"
    """Only entries of this language are read, where a source mixes languages."""
    excluded_tags: tuple[str, ...] = ("form-of", "obsolete", "misspelling", "archaic", "alt-of")
    """Wiktextract tags whose senses and items are left out."""
    max_group_words: Count = 40
    """A Roget semicolon group with more words than this is too loose and is left out."""
    shard_bytes: Annotated[int, Field(ge=1 << 10)] = 256 << 20
    """Bytes of a plain Wiktextract or Moby file a shard: the unit of work and of retry."""

    @model_validator(mode="after")
    def _some_source(self) -> Self:
        if not self.sources:
            raise ValueError("sources is empty; name at least one lexicon, such as sample:roget")
        return self


class RelationsConfig(Settings):
    """Pairs of words, joined from all sources and expanded by negation (Table 1)."""

    negation_tiers: tuple[Literal["sure", "likely", "loose"], ...] = ("sure", "likely", "loose")
    """Affixes that flip: sure (un-, non-, negative in-), likely (dis-, -less against -ful, -ed,
    -y), loose (-less against the bare noun, as in the paper's accurate/fault)."""
    tier_weights: dict[Literal["sure", "likely", "loose"], Share] = {
        "sure": 1.0,
        "likely": 0.5,
        "loose": 0.25,
    }
    """Weight of a pair made by an affix of each tier, against 1 for a pair read from a source."""
    excluded_licences: tuple[str, ...] = ()
    """Rows under these licences, and pairs derived from them, are left out (CC BY-NC-SA 4.0)."""
    excluded_pos: tuple[str, ...] = ()
    """Parts of speech left out (name, num)."""
    excluded_sources: tuple[str, ...] = ()
    """Sources whose rows, and pairs derived from them, are left out (moby)."""
    excluded_tags: tuple[str, ...] = ()
    """Rows with any of these tags are left out (slang, dated, rare)."""
    commercial: bool = False
    """Leave out every row whose licence forbids commercial use (NC), and pairs derived from it."""
    reference: SourceConfig | None = None
    """A lexicon to hold the affixes against in the report (wordnet); adds no pairs."""


class WordsConfig(Settings):
    """How words are spelled with the teacher's tokenizer."""

    max_span: Annotated[int, Field(ge=1, le=8)] = 3
    """m: most tokens of a neighbour's spelling."""
    min_letters: Count = 3
    """Shortest head of a relation, in letters."""


class DictionaryConfig(Settings):
    """The join of senses and relations."""

    max_synonyms: Annotated[int, Field(ge=0)] = 25
    """Most synonyms of a token used as positives; the heaviest pairs first."""
    max_antonyms: Annotated[int, Field(ge=0)] = 25
    """Most antonyms of a token used as negatives; the heaviest pairs first."""
    seed: Seed = 0
    """Breaks ties among pairs of equal weight."""


class StudentConfig(Settings):
    """The student's shape: a copy of part of the teacher."""

    n_layers: Count | None = None
    """Layers kept; half of the teacher's if empty. Not set where layers is a list."""
    layers: Literal["first", "first_last", "spaced"] | tuple[Annotated[int, Field(ge=0)], ...] = (
        "first"
    )
    """Which of the teacher's layers are copied: the first ones (paper), all but the trainable
    ones from the first and those from the last, evenly spaced ones, or a list counted from 0."""
    n_trainable_layers: Count = 2
    """The last so many of them train; everything else, embeddings and head too, is frozen."""

    @model_validator(mode="after")
    def _listed_layers_agree(self) -> Self:
        if isinstance(self.layers, str):
            return self
        if list(self.layers) != sorted(set(self.layers)) or not self.layers:
            raise ValueError(
                f"layers {list(self.layers)} must name at least one layer, each once, ascending"
            )
        if self.n_layers not in {None, len(self.layers)}:
            raise ValueError(
                f"n_layers {self.n_layers} contradicts the {len(self.layers)} layers listed in "
                "layers; leave n_layers empty"
            )
        if self.n_trainable_layers > len(self.layers):
            raise ValueError(
                f"n_trainable_layers {self.n_trainable_layers} exceeds the {len(self.layers)} "
                "layers listed in layers; lower it"
            )
        return self


class TrainingConfig(Settings):
    """Distillation (Eq. 3-5). KD is the same run with positive_weight = negative_weight = 0."""

    mode: Literal["auto", "cached", "online", "precomputed"] = "auto"
    """cached: the teacher runs once and leaves its activations for all epochs, seeds and arms.
    online: the teacher runs beside the student. auto: cached where max_activation_bytes suffice,
    else online. precomputed: activations made elsewhere; the teacher's weights are never read."""
    divergence: Literal["forward_kl", "reverse_kl", "jsd"] = "forward_kl"
    """What the teacher's and the student's distributions are compared with; forward in the paper,
    and the only one that needs no second pass over the vocabulary."""
    n_candidates: Count = 5
    """kappa: nearest positives, and nearest negatives, kept at a position."""
    positive_weight: Weight = 1.0
    """beta_p: weight of the pull to the senses of the next token and of its synonyms."""
    negative_weight: Weight = 1.0
    """beta_n: weight of the push from the senses of antonyms."""
    margin: Weight | Literal["calibrated"] = 1.0
    """gamma: MSE below which an antonym's sense pushes; calibrated takes the margin_quantile of
    that MSE between the teacher's states and the antonyms' senses nearest to them."""
    margin_quantile: Share = 0.5
    """Quantile that a calibrated margin is set to."""
    state_weight: Weight = 0.0
    """Weight of plain MSE(student state, teacher state): the control arm, 0 in the paper."""
    kl_weight: Weight = 0.7
    """alpha: weight of T^2 KL(teacher || student)."""
    temperature: Annotated[float, Field(gt=0.0)] = 2.0
    """T: temperature of the KL."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 1.5e-4
    """Peak learning rate of AdamW."""
    weight_decay: Weight = 1e-3
    """Weight decay of AdamW."""
    warmup_share: Share = 0.1
    """Share of the steps in which the learning rate rises; then it falls along a cosine."""
    n_epochs: Annotated[float, Field(gt=0.0)] = 2.0
    """Passes over the training windows."""
    max_train_tokens: Count | None = None
    """Train on so many tokens of the corpus only; all of them if empty."""
    max_heldout_tokens: Count | None = None
    """Score so many held-out tokens only; all of them if empty."""
    batch_windows: Count = 8
    """Windows of one step, over all ranks and accumulated batches."""
    length_sorted_steps: Count = 1
    """Windows of so many steps are sorted by length before they are dealt out to these steps, which
    come in random order: less padding where lengths differ, as those of prompts do. 1: as drawn."""
    n_accumulated: Count = 1
    """Batches one step's windows are cut into, one after the other, to save memory."""
    n_ranks: Count = 1
    """Data-parallel processes on this machine, each with its own share of a step's windows."""
    prompt_weight: Weight = 1.0
    """Weight of a prompt's positions in CE and KL, where the text has prompts and answers."""
    answer_weight: Weight = 1.0
    """Weight of an answer's positions in CE and KL."""
    max_grad_norm: Annotated[float, Field(gt=0.0)] | None = 1.0
    """Gradients are scaled down to this norm; not clipped if empty."""
    semantic_positions: Literal["sampled", "all"] = "sampled"
    """Which positions get L_sem: a sample as in the paper (see related_share), or every one."""
    related_share: Share = 0.4
    """Share of a window's positions with relations that get L_sem, and as many random others."""
    min_related: Annotated[int, Field(ge=0)] = 25
    """At least so many of them, where there are so many."""
    compute_dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """Precision of the matrix products; master weights, softmax and sums are float32. auto:
    bfloat16 where the device multiplies it natively, else float32."""
    max_activation_bytes: Annotated[int, Field(ge=1 << 20)] = 8 << 30
    """Most bytes of stored activations; a plan beyond it is refused."""
    checkpoint_steps: Count = 20
    """Steps between checkpoints a killed run resumes from."""
    n_checkpoints: Count = 1
    """Latest checkpoints kept of a run that is not finished."""
    validation_steps: Count | None = None
    """Score the student on validation documents every so many steps; never if empty."""
    validation_share: Share = 0.2
    """Share of the held-out documents used for that, and left out of the final scores."""
    keep: Literal["last", "best"] = "last"
    """Export the weights of the last step, or those of the lowest validation CE."""
    max_loss_growth: Annotated[float, Field(gt=1.0)] = 10.0
    """Stop where the loss exceeds so many times the median of the last 50 steps."""
    compile_head: bool = True
    """Compile the element-wise part of the vocabulary pass where a compiler is found."""
    compile_layers: bool = True
    """Compile the trained layers, likewise, and online the teacher's, for windows of full length;
    half a minute once, which some hundreds of steps repay."""
    hub_repository: Name | None = None
    """Push finished students to this hub repository, a branch each; not pushed if empty."""
    seed: Seed = 0
    """Order of the windows and choice of the positions."""

    @property
    def validated_share(self) -> float:
        """Share of the held-out documents that is for validation: 0 where there is none."""
        return self.validation_share if self.validation_steps else 0.0

    @model_validator(mode="after")
    def _the_best_is_measured(self) -> Self:
        if self.keep == "best" and self.validation_steps is None:
            raise ValueError("keep 'best' needs a validation CE; set validation_steps")
        return self


class TaggedSourceConfig(Settings):
    """One set of words with known senses or relations, to judge every subject's states by."""

    kind: Literal["wic", "coarse_wsd", "in_context", "pairs", "wordnet_examples", "wordnet_wic"]
    """The format: wic (X.data.txt and X.gold.txt), coarse_wsd (a folder for each word),
    in_context (a table or JSONL of word, sense, sentence), pairs (word_a, word_b, label), or the
    example sentences of a WordNet folder: wordnet_examples, wordnet_wic (pairs of them)."""
    uri: Uri
    """The file or folder."""
    name: str | None = None
    """What reports call it; the file's or folder's name if empty."""
    state: Literal["as_filed", "before", "at"] = "as_filed"
    """Which state stands for a token in its context: the one before it, which predicts it, or its
    own. as_filed: as the dictionary's embeddings were filed: before for the keys predicted and
    next, at for input. Pairs are always at: they have no context before them."""
    train_share: Share = 0.5
    """Share of the items that labels senses and sets thresholds, where the source has no train
    part of its own; the others are scored."""
    max_items: Count | None = None
    """Most items read of each part, a sample fixed by their content; all if empty."""
    batch_tokens: Count = 4096
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
    n_exemplars: Annotated[int, Field(ge=0)] = 5
    """Answered questions before each item (1 for squad in the paper)."""
    answer_tokens: Count = 1
    """Tokens generated as the answer in the paper's protocol (10 for squad in the paper)."""
    max_items: Count | None = None
    """Score so many items only, a sample fixed by the seed; all of them if empty."""


class EvaluationConfig(Settings):
    """How students are compared."""

    arms: tuple[Arm, ...] = ("kd", "dskd", "kd_mse")
    """kd: both sense weights 0. dskd: the training settings as they are. Controls: kd_mse, KD plus
    plain MSE to the teacher's state; dskd_own, the next token's own senses only;
    dskd_shuffled, every token given another's relations; dskd_no_hinge, no push from antonyms."""
    seeds: tuple[Seed, ...] = (0, 1, 2)
    """Every arm is trained once with each."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Level of the intervals."""
    n_resamples: Count = 2000
    """Bootstrap resamples of an interval."""
    benchmarks: tuple[BenchmarkConfig, ...] = ()
    """The benchmarks teacher and students are scored on; none if empty."""
    protocols: tuple[Literal["paper", "harness"], ...] = ("paper",)
    """paper: chat template, exemplars of the same kind, generated answer. harness:
    lm-evaluation-harness's own tasks, by log-likelihood (needs the extra eval)."""
    benchmark_batch_tokens: Count = 8192
    """Tokens (padding included) of one batch of benchmark items."""
    benchmark_shard_tokens: Count = 131_072
    """Prompt tokens a shard of benchmark items: the unit of work and of retry."""
    benchmark_seed: Seed = 0
    """Fixes the sample of items and the exemplars of the paper's protocol."""
    tagged: tuple[TaggedSourceConfig, ...] = ()
    """Words with known senses or relations that every subject is scored on."""

    @field_validator("arms")
    @classmethod
    def _kd_is_the_yardstick(cls, arms: tuple[str, ...]) -> tuple[str, ...]:
        if "kd" not in arms:
            raise ValueError(f"arms {arms} lack 'kd'; every other arm is compared with it: add it")
        if len(set(arms)) < len(arms):
            raise ValueError(f"arms {arms} name one twice; name each once")
        return arms


class PipelineConfig(Settings):
    """All stages under one root: what every flow takes."""

    root_uri: Uri = "work/artifacts"
    """Where artifacts are kept: a folder, or an s3:// prefix."""
    teacher: TeacherConfig = TeacherConfig()
    corpus: CorpusConfig = CorpusConfig()
    prompts: PromptsConfig = PromptsConfig()
    embeddings: EmbeddingsConfig = EmbeddingsConfig()
    senses: SensesConfig = SensesConfig()
    lexicon: LexiconConfig = LexiconConfig()
    relations: RelationsConfig = RelationsConfig()
    words: WordsConfig = WordsConfig()
    dictionary: DictionaryConfig = DictionaryConfig()
    student: StudentConfig = StudentConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _stages_agree(self) -> Self:
        if self.embeddings.batch_tokens < self.corpus.window_tokens:
            raise ValueError(
                f"embeddings.batch_tokens {self.embeddings.batch_tokens} is less than one window "
                f"of corpus.window_tokens {self.corpus.window_tokens}; raise the first"
            )
        n_layers = self.student.n_layers
        if n_layers is not None and self.student.n_trainable_layers > n_layers:
            raise ValueError(
                f"student.n_trainable_layers {self.student.n_trainable_layers} exceeds "
                f"student.n_layers {n_layers}; lower the first"
            )
        if self.training.n_candidates < 1:
            raise ValueError("training.n_candidates must be at least 1")
        if self.corpus.heldout_share == 0.0 and self.evaluation.seeds:
            raise ValueError(
                "corpus.heldout_share 0.0 leaves no text to score students on; set it above 0"
            )
        return self


def load_config(path: Path) -> PipelineConfig:
    """Read a parameter file (YAML) into settings.

    Raises:
        ConfigError: if the file is not YAML or a value is refused; every refused key is named.
    """
    try:
        return parse_config(yaml.safe_load(path.read_text("utf-8")) or {}, str(path))
    except yaml.YAMLError as error:
        told = redact(f"{path} is not YAML ({error})")
        raise ConfigError(f"{told}; correct the line it names.") from error


def parse_config(values: Any, origin: str) -> PipelineConfig:
    """Turn plain values into settings.

    Raises:
        ConfigError: if a value is refused; every refused key is named with its value.
    """
    try:
        return PipelineConfig.model_validate(values)
    except ValidationError as error:
        refused = redact("; ".join(_told(e) for e in error.errors()))
        raise ConfigError(
            f"{origin} is refused: {refused}. Correct these keys; dskd_core/config.py has them all."
        ) from error


def _told(error: Any) -> str:
    """Return one refusal of pydantic: the key, its value and why."""
    name = ".".join(str(part) for part in error["loc"]) or "config"
    if error["type"] == "value_error":
        return f"{name}: {error['msg'].removeprefix('Value error, ')}"
    if error["type"] == "string_pattern_mismatch" and "hf:" not in error["ctx"]["pattern"]:
        return (
            f"{name} has a ':' or an '@', as no name on the hub has, and is not shown here: "
            "it may carry credentials; give those in the environment (HF_TOKEN)"
        )
    if error["type"] == "string_pattern_mismatch":
        return (
            f"{name} carries credentials before an '@' (not shown here); give them in the "
            "environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
        )
    return f"{name}={error['input']!r}: {error['msg']}"
