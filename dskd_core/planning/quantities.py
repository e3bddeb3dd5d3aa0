"""What a plan is made of: what is known, what a stage takes, and the bytes and FLOPs of parts.

Bytes follow the layouts at the top of the module that writes each artifact. A row of N states takes
N d times 2 bytes; ids and offsets are counted too; the few hundred bytes of an array's own metadata
are not. FLOPs count a product and a sum as two.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dskd_core.config import EmbeddingsConfig, PipelineConfig
from dskd_core.decoder.states import GROUP_WIDTH
from dskd_core.planning.architecture import Architecture
from dskd_core.planning.census import Corpus, TokenCounts
from dskd_core.training.student.shape import Shape

STATE_BYTES = {"int8": 1, "float16": 2, "bfloat16": 2, "float32": 4}
_SCALE_BYTES = 2
KMEANS_ITERATIONS = 20
"""Lloyd iterations a run is expected to need, of at most ``max_iterations``."""
PAPER_COMPOSED_WORDS = 20_000
"""Words of several tokens with senses: between the 16,600 and 22,700 that the paper's two
dictionaries (7.08 GB and 2.06 GB) leave room for beside their tokens' own senses."""
EXAMPLE_BYTES = 82
"""One example with its text and 16 tokens of context on each side, in Parquet: the sample run's."""
WORD_BYTES = 20
"""One row of a dictionary's words.parquet: the sample run's."""
LINKS_PER_TOKEN = 10
"""Neighbours with senses a covered token has on average: the sample run's."""
DOCUMENT_BYTES = 40
"""One row of documents.parquet: the sample run's."""
TOKENIZER_BYTES = 3_500_000
"""A tokenizer's files beside a checkpoint."""
CHUNK_BYTES = 16 << 20
"""Bytes of a chunk of Zarr; the last chunk of an array is written whole."""


@dataclass(frozen=True)
class Quantities:
    """What is known before the stages run.

    Attributes:
        config: all settings.
        teacher: the sizes of the teacher.
        corpus: the sizes of the text.
        census: occurrences of every token of the inventory.
        n_composed: words of several tokens that get senses.
        composed_basis: where that number comes from.
        n_shard_rows: rows of all embedding shards, where they stand.
        other_texts: the sizes of text of other domains, by name.
    """

    config: PipelineConfig
    teacher: Architecture
    corpus: Corpus
    census: TokenCounts
    n_composed: int
    composed_basis: str
    n_shard_rows: int | None = None
    other_texts: Mapping[str, Corpus] = field(default_factory=dict)

    @property
    def shape(self) -> Shape:
        """The student's layers."""
        return Shape.from_config(self.config.student, self.teacher.n_layers)

    @property
    def trained_layers(self) -> tuple[int, ...]:
        """Layers of the teacher whose copies train."""
        return tuple(self.shape.layers[number] for number in self.shape.trained)

    @property
    def tail_layers(self) -> tuple[int, ...]:
        """Layers of the teacher whose copies run in training: from the first trainable one on."""
        return self.shape.layers[self.shape.entry :]

    @property
    def n_trained_parameters(self) -> int:
        """Weights of a student that train; of a final norm, its scale, d."""
        norm = self.teacher.hidden_size if self.shape.trains_norm else 0
        return self.teacher.layer_parameters(self.trained_layers) + norm

    @property
    def n_student_parameters(self) -> int:
        """Weights of a student."""
        return self.teacher.parameters(self.shape.layers)

    @property
    def n_training_positions(self) -> int:
        """Positions a student is trained on in one epoch."""
        return _within(self.corpus.n_training_tokens, self.config.training.max_train_tokens)

    @property
    def n_heldout_positions(self) -> int:
        """Positions a student is scored on."""
        return _within(self.corpus.n_heldout_tokens, self.config.training.max_heldout_tokens)

    @property
    def n_other_positions(self) -> int:
        """Positions of other domains that a student is scored on, too."""
        return sum(text.n_tokens for text in self.other_texts.values())


@dataclass(frozen=True)
class StagePlan:
    """What one stage will take.

    Attributes:
        stage: its name.
        n_tokens: corpus tokens it runs over; 0 where it reads none.
        n_windows: windows it runs over.
        n_shards: pieces of work, each with its own retry.
        stored_bytes: bytes it publishes, its shards' included.
        host_bytes: most memory of one worker, the model excluded where it is on a GPU.
        device_bytes: most memory of its accelerator, weights included.
        fixed_bytes: the part of ``device_bytes`` that its setting does not lower.
        flops: of matrix products in the precision that the settings resolve to.
        trains: whether that is training's precision; else it is the teacher's.
        float32_flops: of products in 32 bits, whatever the settings are.
        moved_bytes: read from the accelerator's memory by those.
        basis: what the numbers rest on: ``counted`` or ``estimated``.
        note: what a reader should know.
        host_setting: what to change where the host's memory does not suffice.
        device_setting: what to change where the accelerator's does not.
        transient_bytes: on disk while it runs, and gone when it is done.
        disk_setting: what to change where the disk does not suffice.
    """

    stage: str
    n_tokens: int = 0
    n_windows: int = 0
    n_shards: int = 1
    stored_bytes: int = 0
    host_bytes: int = 0
    device_bytes: int = 0
    fixed_bytes: int = 0
    flops: float = 0.0
    float32_flops: float = 0.0
    moved_bytes: float = 0.0
    basis: str = "estimated"
    note: str = ""
    host_setting: str = ""
    device_setting: str = ""
    transient_bytes: int = 0
    disk_setting: str = ""
    trains: bool = False


def array_bytes(n_rows: int, row_bytes: int) -> int:
    """Return what an array takes on disk: whole chunks, 4 bytes of CRC each.

    >>> array_bytes(10, 4), array_bytes(20_000, 1024) == 2 * (16_384 * 1024 + 4)
    (44, True)
    """
    chunk_rows = max(1, min(n_rows, CHUNK_BYTES // row_bytes))
    return -(-n_rows // chunk_rows) * (chunk_rows * row_bytes + 4)


def weight_bytes(quantities: Quantities) -> int:
    """Return the bytes of the teacher's weights as they are loaded."""
    return quantities.teacher.parameters() * STATE_BYTES[quantities.config.teacher.dtype]


def optimizer_bytes(trained: int, tail: int) -> int:
    """Return the bytes of training some weights, all in float32.

    Args:
        trained: weights that train: a gradient and two moments each.
        tail: weights of all layers from the first trained one on, which are copied.
    """
    return trained * (4 + 8) + tail * 4


def kept_bytes(model: Architecture, n_layers: int, item_bytes: int) -> int:
    """Return what a step keeps of a position for its backward pass through some layers."""
    return n_layers * (4 * model.intermediate_size + 12 * model.hidden_size) * item_bytes


def state_row_bytes(quantities: Quantities) -> int:
    """Return the bytes of one stored embedding: a state, document, position and hash.

    A state of int8 has a scale for every 64 values.
    """
    dtype, d = quantities.config.embeddings.state_dtype, quantities.teacher.hidden_size
    scales = _SCALE_BYTES * -(-d // GROUP_WIDTH) if dtype == "int8" else 0
    return d * STATE_BYTES[dtype] + scales + 16


def stored_embedding_rows(census: TokenCounts, config: EmbeddingsConfig, n_shards: int) -> int:
    """Return the rows all shards store together.

    For the keys next and input that is the sample, decided before the teacher runs. For predicted
    the limits admit ``safety`` times the cap of a token as common in predictions as in text, and a
    shard never keeps more than the cap.
    """
    if config.key != "predicted":
        return census.rows(config.max_occurrences)
    return census.rows(min(config.safety, n_shards) * config.max_occurrences)


def candidate_position_bytes(n_candidates: int, *, with_synonyms: bool = False) -> int:
    """Return the bytes of one position's nearest rows: kappa positives and kappa negatives.

    Where a recipe ranks them, kappa synonyms stand beside them.
    """
    return (3 if with_synonyms else 2) * 4 * n_candidates


def forward_flops(
    quantities: Quantities, layers: Iterable[int] | None = None, *, heads: float = 0.0
) -> float:
    """Return FLOPs a token of a forward through layers, with ``heads`` passes over the vocabulary.

    Layers are the teacher's numbers, all of them if None. A token of a window of n sees n / 2
    others on average.
    """
    context, teacher = quantities.config.corpus.window_tokens / 2, quantities.teacher
    chosen = range(teacher.n_layers) if layers is None else layers
    return teacher.layer_flops(chosen, context) + heads * teacher.head_flops


def dictionary_rows(quantities: Quantities) -> int:
    """Return the rows of a dictionary: all senses, and those of composed words.

    A composed word has as many senses as its first token, most often the full k.
    """
    n_senses = quantities.config.senses.n_senses
    own = quantities.census.rows(n_senses)
    mean = own / max(1, quantities.census.n_covered)
    return own + int(quantities.n_composed * (mean + n_senses) / 2)


def capture_flops(quantities: Quantities, n_tokens: int) -> float:
    """Return the FLOPs of one teacher pass over tokens, with its targets."""
    n_temperatures = 1 + len(quantities.config.training.other_temperatures)
    return n_tokens * forward_flops(quantities, heads=2.0 * n_temperatures)


def online_flops(quantities: Quantities, n_tokens: int) -> float:
    """Return the FLOPs of the teacher beside a student: a forward, and its logits once."""
    return n_tokens * forward_flops(quantities, heads=1.0)


def student_flops(quantities: Quantities) -> float:
    """Return the FLOPs of all epochs of one student from h and the teacher's targets.

    Trainable layers cost three forwards, frozen ones between them two; the frozen head two passes:
    logits, and W^T p.
    """
    trained = forward_flops(quantities, quantities.trained_layers)
    tail = forward_flops(quantities, quantities.tail_layers)
    per_token = 2 * tail + trained + 2 * quantities.teacher.head_flops
    return quantities.config.training.n_epochs * quantities.n_training_positions * per_token


def _within(n_tokens: int, budget: int | None) -> int:
    return n_tokens if budget is None else min(n_tokens, budget)
