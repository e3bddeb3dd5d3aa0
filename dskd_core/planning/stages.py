"""What each stage reads, writes, holds and computes: one function a stage, formulas and no disk.

Bytes follow the layouts at the top of each stage's ``store.py``. A row of N states takes N d times
2 bytes; ids and offsets are counted too; the few hundred bytes of an array's own metadata are not.
FLOPs count a product and a sum as two.
"""

from dataclasses import dataclass

from dskd_core.config import PipelineConfig
from dskd_core.planning.architecture import Architecture
from dskd_core.planning.census import Census, Corpus
from dskd_core.training.student import Shape

STATE_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}
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
_CAPTURE_BATCH_TOKENS = 4096
_CAPTURE_SHARD_TOKENS = 32_768
_LOGIT_BYTES = 64 << 20
_WORDS_A_TIME = 4096


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
        n_part_rows: rows of all embedding parts, where they stand.
    """

    config: PipelineConfig
    teacher: Architecture
    corpus: Corpus
    census: Census
    n_composed: int
    composed_basis: str
    n_part_rows: int | None = None

    @property
    def shape(self) -> Shape:
        """The student's layers."""
        return Shape.of(self.config.student, self.teacher.n_layers)

    @property
    def n_training_positions(self) -> int:
        """Positions a student is trained on in one epoch."""
        return _within(self.corpus.n_training_tokens, self.config.training.max_train_tokens)

    @property
    def n_heldout_positions(self) -> int:
        """Positions a student is scored on."""
        return _within(self.corpus.n_heldout_tokens, self.config.training.max_heldout_tokens)


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
        flops: of matrix products in 16 bits.
        float32_flops: of products in 32 bits.
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


def array_bytes(n_rows: int, row_bytes: int) -> int:
    """Return what an array takes on disk: whole chunks, 4 bytes of CRC each.

    >>> array_bytes(10, 4), array_bytes(20_000, 1024) == 2 * (16_384 * 1024 + 4)
    (44, True)
    """
    chunk_rows = max(1, min(n_rows, CHUNK_BYTES // row_bytes))
    return -(-n_rows // chunk_rows) * (chunk_rows * row_bytes + 4)


def weight_bytes(of: Quantities) -> int:
    """Return the bytes of the teacher's weights as they are loaded."""
    return of.teacher.parameters() * STATE_BYTES[of.config.teacher.dtype]


def state_row_bytes(of: Quantities) -> int:
    """Return the bytes of one stored embedding: a state, document, position and hash."""
    return of.teacher.hidden_size * STATE_BYTES[of.config.embeddings.state_dtype] + 16


def stored_embedding_rows(census: Census, n_shards: int, max_occurrences: int) -> int:
    """Return the rows all parts keep together: the cap holds in every part, not over all.

    With occurrences spread evenly a part keeps min(n_t / S, cap) rows of token t. The index then
    uses the ``max_occurrences`` of smallest hash, wherever they lie.
    """
    return census.rows(n_shards * max_occurrences)


def activation_position_bytes(hidden_size: int) -> int:
    """Return the bytes of one position's activations: h, m_t and e_t in 16 bits, and 13 of ids."""
    return 3 * 2 * hidden_size + 13


def candidate_position_bytes(n_candidates: int) -> int:
    """Return the bytes of one position's nearest rows: kappa positives and kappa negatives."""
    return 2 * 4 * n_candidates


def forward_flops(of: Quantities, n_layers: int, *, heads: float = 0.0) -> float:
    """Return FLOPs a token of a forward through layers, with ``heads`` passes over the vocabulary.

    A token of a window of n sees n / 2 others on average.
    """
    context = of.config.corpus.window_tokens / 2
    return n_layers * of.teacher.layer_flops(context) + heads * of.teacher.head_flops


def teacher(of: Quantities) -> StagePlan:
    """Plan the teacher: converted once where it is a GGUF file, else pointed to."""
    converts = of.teacher.origin.endswith(".gguf")
    parameters = of.teacher.parameters()
    return StagePlan(
        "teacher",
        stored_bytes=TOKENIZER_BYTES + (weight_bytes(of) if converts else 0),
        # Read in float32, copied into a model of its own dtype, and written from there.
        host_bytes=parameters * 4 + 2 * weight_bytes(of) if converts else 0,
        basis="counted",
        note=f"{parameters / 1e9:.3g} B parameters" + ("" if converts else ", left where they are"),
    )


def corpus(of: Quantities) -> StagePlan:
    """Plan the corpus: 4 bytes a token, 17 a window, and a row a document."""
    size, limited = of.corpus, of.config.corpus.max_tokens is not None
    return StagePlan(
        "corpus",
        size.n_tokens,
        size.n_windows,
        stored_bytes=4 * size.n_tokens
        + 17 * size.n_windows
        + 8
        + DOCUMENT_BYTES * size.n_documents,
        host_bytes=(4 * size.n_tokens if limited else 0) + 300 * size.n_documents + (32 << 20),
        basis="counted" if size.windows is not None else "estimated",
        note=size.basis,
        host_setting="corpus.max_tokens",
    )


def embeddings(of: Quantities) -> StagePlan:
    """Plan the embeddings: one forward of every training window, a part a shard."""
    config, size = of.config.embeddings, of.corpus
    n_shards = max(1, -(-size.n_training_tokens // config.shard_tokens))
    rows = of.n_part_rows or stored_embedding_rows(of.census, n_shards, config.max_occurrences)
    per_shard = min(config.shard_tokens, size.n_training_tokens)
    # A token with rows in a part has an id and an offset there.
    index = 12 * of.census.rows(n_shards) + 20 * of.census.n_covered
    state = of.teacher.hidden_size * STATE_BYTES[of.config.teacher.dtype]
    heads = 1.0 if config.key == "predicted" else 0.0
    return StagePlan(
        "embeddings",
        size.n_training_tokens,
        size.n_training_windows,
        n_shards,
        stored_bytes=_parts_bytes(rows, n_shards, of) + 16 * rows + index,
        # All states of the shard, once in pieces and once joined, and the sample of them.
        host_bytes=4 * size.n_tokens + 3 * per_shard * state,
        device_bytes=weight_bytes(of) + _batch_bytes(of, config.batch_tokens) + _LOGIT_BYTES,
        fixed_bytes=weight_bytes(of) + _LOGIT_BYTES,
        flops=size.n_training_tokens * forward_flops(of, of.teacher.n_layers, heads=heads),
        basis="counted" if of.census.exact else "estimated",
        note=f"{rows:,} rows in the parts, of which {of.census.rows(config.max_occurrences):,} are "
        "used: a part keeps up to the cap by itself",
        host_setting="embeddings.shard_tokens",
        disk_setting="embeddings.max_occurrences or corpus.max_tokens",
        device_setting="embeddings.batch_tokens",
    )


def _parts_bytes(rows: int, n_shards: int, of: Quantities) -> int:
    """Return the bytes of the states of all parts, of which the last is what is left over."""
    share = of.config.embeddings.shard_tokens / max(1, of.corpus.n_training_tokens)
    full = min(rows, int(rows * share))
    row_bytes = state_row_bytes(of) - 16
    last = rows - (n_shards - 1) * full
    return (n_shards - 1) * array_bytes(full, row_bytes) + array_bytes(last, row_bytes)


def senses(of: Quantities) -> StagePlan:
    """Plan the senses (Eq. 1): k centroids a token, once in parts (float32) and once joined."""
    config, d = of.config.senses, of.teacher.hidden_size
    used = of.census.rows(of.config.embeddings.max_occurrences)
    rows = of.census.rows(config.n_senses)
    tokens = of.census.n_covered
    index = 4 * rows + 20 * tokens
    examples = min(rows * config.n_examples, used)
    n_shards = max(1, -(-used // config.shard_rows))
    # The parts have float32, the inventory float16.
    centroids = array_bytes(rows, 2 * d) + n_shards * array_bytes(-(-rows // n_shards), 4 * d)
    iterations = min(KMEANS_ITERATIONS, config.max_iterations)
    piece = min(config.batch_bytes, 4 * d * used)
    # Distances and means are two products with every row, in every iteration of every restart.
    products = 4.0 * used * config.n_senses * d * iterations * config.n_restarts
    reads = config.n_restarts if config.backend == "cuml" else 1
    return StagePlan(
        "senses",
        n_shards=n_shards,
        stored_bytes=centroids + 2 * index + int(1.2 * EXAMPLE_BYTES * examples),
        host_bytes=2 * piece + 4 * d * (-(-rows // n_shards)) + 4 * of.corpus.n_tokens,
        device_bytes=2 * piece,
        float32_flops=products,
        moved_bytes=2.0 * 4 * used * d * iterations * reads,
        basis="counted" if of.census.exact else "estimated",
        note=f"{tokens:,} tokens, {rows:,} senses of {used:,} embeddings",
        host_setting="senses.batch_bytes",
        disk_setting="senses.n_senses",
        device_setting="senses.batch_bytes",
    )


def dictionary_rows(of: Quantities) -> int:
    """Return the rows of a dictionary: all senses, and those of composed words.

    A composed word has as many senses as its first token, most often the full k.
    """
    n_senses = of.config.senses.n_senses
    own = of.census.rows(n_senses)
    mean = own / max(1, of.census.n_covered)
    return own + int(of.n_composed * (mean + n_senses) / 2)


def dictionary(of: Quantities) -> StagePlan:
    """Plan the dictionary (Eq. 2): rows in float16, and lists of them for every token."""
    d, rows = of.teacher.hidden_size, dictionary_rows(of)
    covered, config = of.census.n_covered, of.config.dictionary
    links = covered * min(LINKS_PER_TOKEN, config.max_synonyms + config.max_antonyms)
    lists = 4 * int(links * rows / max(1, covered + of.n_composed))
    offsets = 3 * 8 * (of.teacher.n_vocabulary + 1)
    words = WORD_BYTES * 2 * (covered + of.n_composed)
    composing = 3 * min(_WORDS_A_TIME, of.n_composed) * of.config.senses.n_senses * d * 4
    return StagePlan(
        "dictionary",
        stored_bytes=array_bytes(rows, 2 * d) + lists + offsets + words,
        host_bytes=2 * rows * d * 2 + composing + 4 * of.corpus.n_tokens,
        float32_flops=2.0 * rows * of.config.senses.n_senses * d,
        note=f"{rows:,} rows; {of.n_composed:,} composed words ({of.composed_basis})",
        host_setting="senses.n_senses",
    )


def activations(of: Quantities, *, cached: bool) -> StagePlan:
    """Plan the activations: one teacher forward with two passes over the vocabulary (logits, e_t).

    Online only the held-out text is captured.
    """
    d, size = of.teacher.hidden_size, of.corpus
    tokens = of.n_heldout_positions + (of.n_training_positions if cached else 0)
    n_windows = int(tokens * size.n_windows / max(1, size.n_tokens))
    shard = min(_CAPTURE_SHARD_TOKENS, tokens)
    return StagePlan(
        "activations",
        tokens,
        n_windows,
        max(1, -(-tokens // _CAPTURE_SHARD_TOKENS)),
        stored_bytes=tokens * activation_position_bytes(d),
        host_bytes=4 * size.n_tokens + 2 * shard * activation_position_bytes(d),
        device_bytes=weight_bytes(of) + _batch_bytes(of, _CAPTURE_BATCH_TOKENS) + 3 * _LOGIT_BYTES,
        flops=capture_flops(of, tokens),
        basis="counted" if size.windows is not None else "estimated",
        note="of training and held-out text" if cached else "of held-out text only (online)",
        host_setting="training.max_train_tokens",
        disk_setting="training.max_train_tokens",
        device_setting="teacher.dtype",
    )


def candidates(of: Quantities, *, cached: bool) -> StagePlan:
    """Plan the candidates: the kappa rows nearest to every state, ids only."""
    tokens = of.n_heldout_positions + (of.n_training_positions if cached else 0)
    rows = dictionary_rows(of) * of.teacher.hidden_size * 2
    return StagePlan(
        "candidates",
        tokens,
        stored_bytes=tokens * candidate_position_bytes(of.config.training.n_candidates),
        host_bytes=rows + (1 << 30),
        device_bytes=rows,
        note="row ids in the dictionary",
        host_setting="senses.n_senses",
        device_setting="senses.n_senses",
    )


def capture_flops(of: Quantities, n_tokens: int) -> float:
    """Return the FLOPs of one teacher pass over tokens, with its targets."""
    return n_tokens * forward_flops(of, of.teacher.n_layers, heads=2.0)


def student_flops(of: Quantities) -> float:
    """Return the FLOPs of all epochs of one student from h and the teacher's targets.

    Trainable layers cost three forwards; the frozen head two passes: logits, and W^T p.
    """
    n_trainable = of.shape.n_layers - of.shape.entry
    per_token = 3 * forward_flops(of, n_trainable) + 2 * of.teacher.head_flops
    return of.config.training.n_epochs * of.n_training_positions * per_token


def students(of: Quantities, *, cached: bool) -> StagePlan:
    """Plan the students: one a seed and arm, from stored activations or beside the teacher."""
    evaluation, training, shape = of.config.evaluation, of.config.training, of.shape
    n_students = len(evaluation.arms) * len(evaluation.seeds)
    n_trainable = shape.n_layers - shape.entry
    trained = n_trainable * of.teacher.layer_parameters
    parameters = of.teacher.parameters(shape.n_layers)
    epochs = training.n_epochs * of.n_training_positions
    beside = 0.0 if cached else epochs * capture_flops(of, 1)
    batch = training.batch_windows * of.config.corpus.window_tokens
    micro = -(-batch // (training.n_accumulated * training.n_ranks))
    rows = dictionary_rows(of) * of.teacher.hidden_size * 2
    optimizer = trained * (4 + 4 + 8)  # weights, gradients and two moments, float32
    fixed = optimizer + of.teacher.head_parameters * 2 + rows + weight_bytes(of)
    return StagePlan(
        "students",
        int(epochs) * n_students,
        n_shards=n_students,
        stored_bytes=n_students
        * (parameters * STATE_BYTES[of.config.teacher.dtype] + TOKENIZER_BYTES),
        host_bytes=rows + weight_bytes(of),
        device_bytes=fixed + _training_bytes(of, micro),
        fixed_bytes=fixed,
        flops=n_students * (student_flops(of) + beside),
        basis="counted" if of.corpus.windows is not None else "estimated",
        note=f"{n_students} of {shape.n_layers} layers, {parameters / 1e9:.3g} B parameters of "
        f"which {trained / 1e9:.2g} B train, {parameters * 2 / 1e9:.3g} GB each",
        host_setting="senses.n_senses",
        device_setting="training.batch_windows or training.n_accumulated",
        transient_bytes=trained * 12,
        disk_setting="the number of evaluation.arms or evaluation.seeds",
    )


def _batch_bytes(of: Quantities, n_tokens: int) -> int:
    """Return the memory of a forward without gradients: a layer's widest states, and its own."""
    widest = 3 * of.teacher.intermediate_size + 8 * of.teacher.hidden_size
    return n_tokens * widest * STATE_BYTES[of.config.teacher.dtype]


def _training_bytes(of: Quantities, n_tokens: int) -> int:
    """Return what a step keeps for its backward pass, and a chunk of logits in float32."""
    n_trainable = of.shape.n_layers - of.shape.entry
    kept = n_trainable * (4 * of.teacher.intermediate_size + 12 * of.teacher.hidden_size) * 2
    chunk = min(n_tokens, 1024) * of.teacher.n_vocabulary * (4 + 2)
    return n_tokens * (kept + 5 * 4 * of.teacher.hidden_size) + chunk


def _within(n_tokens: int, budget: int | None) -> int:
    return n_tokens if budget is None else min(n_tokens, budget)
