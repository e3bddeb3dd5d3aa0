"""What each stage reads, writes, holds and computes: one function a stage, formulas and no disk."""

from dskd_core.decoder.decoder import LOGIT_BYTES
from dskd_core.planning.census import Corpus
from dskd_core.planning.quantities import (
    DOCUMENT_BYTES,
    EXAMPLE_BYTES,
    KMEANS_ITERATIONS,
    LINKS_PER_TOKEN,
    STATE_BYTES,
    TOKENIZER_BYTES,
    WORD_BYTES,
    Quantities,
    StagePlan,
    array_bytes,
    candidate_position_bytes,
    capture_flops,
    dictionary_rows,
    forward_flops,
    kept_bytes,
    online_flops,
    optimizer_bytes,
    state_row_bytes,
    stored_embedding_rows,
    student_flops,
    weight_bytes,
)
from dskd_core.training.activations.capture import BATCH_TOKENS
from dskd_core.training.activations.store import (
    CALIBRATION_TOKENS,
    SHARD_TOKENS,
    captured_bytes,
)
from dskd_core.training.losses.logits import pass_bytes

_WORDS_A_TIME = 4096


def teacher(quantities: Quantities) -> StagePlan:
    """Plan the teacher: converted once where it is a GGUF file, else pointed to."""
    converts = quantities.teacher.origin.endswith(".gguf")
    parameters = quantities.teacher.parameters()
    return StagePlan(
        "teacher",
        stored_bytes=TOKENIZER_BYTES + (weight_bytes(quantities) if converts else 0),
        # Read in float32, copied into a model of its own dtype, and written from there.
        host_bytes=parameters * 4 + 2 * weight_bytes(quantities) if converts else 0,
        basis="counted",
        note=f"{parameters / 1e9:.3g} B parameters" + ("" if converts else ", left where they are"),
    )


def corpus(quantities: Quantities) -> StagePlan:
    """Plan the corpus: 4 bytes a token, 17 a window, and a row a document."""
    size, limited = quantities.corpus, quantities.config.corpus.max_tokens is not None
    # Other texts are kept twice: as they were cut, and without known documents.
    others = sum(_windows_bytes(text) for text in quantities.other_texts.values())
    return StagePlan(
        "corpus",
        size.n_tokens,
        size.n_windows,
        stored_bytes=_windows_bytes(size) + 2 * others,
        host_bytes=(4 * size.n_tokens if limited else 0) + 300 * size.n_documents + (32 << 20),
        basis="counted" if size.windows is not None else "estimated",
        note=size.basis,
        host_setting="corpus.max_tokens",
    )


def _windows_bytes(text: Corpus) -> int:
    return 4 * text.n_tokens + 17 * text.n_windows + 8 + DOCUMENT_BYTES * text.n_documents


def embeddings(quantities: Quantities) -> StagePlan:
    """Plan the embeddings: a forward of the windows with something to keep."""
    config, size = quantities.config.embeddings, quantities.corpus
    n_tokens = quantities.census.n_run_tokens or size.n_training_tokens
    n_shards = max(1, -(-n_tokens // config.shard_tokens))
    rows = quantities.n_shard_rows or stored_embedding_rows(quantities.census, config, n_shards)
    used = quantities.census.rows(config.max_occurrences)
    per_shard = min(config.shard_tokens, n_tokens)
    # A token met in a shard has an id, an offset and a count there; the index has four numbers.
    index = 20 * quantities.census.rows(n_shards) + 28 * quantities.census.n_covered
    state = quantities.teacher.hidden_size * STATE_BYTES[quantities.config.teacher.dtype]
    heads = 1.0 if config.key == "predicted" else 0.0
    return StagePlan(
        "embeddings",
        n_tokens,
        quantities.census.n_run_windows or size.n_training_windows,
        n_shards,
        stored_bytes=_parts_bytes(rows, n_shards, quantities) + 16 * rows + index,
        # The windows and the census; the kept states of the shard, twice while they are sorted, and
        # of the one that is computed while it is written.
        host_bytes=12 * size.n_tokens + 2 * per_shard * state * min(2, n_shards),
        device_bytes=weight_bytes(quantities)
        + _batch_bytes(quantities, config.batch_tokens)
        + LOGIT_BYTES,
        fixed_bytes=weight_bytes(quantities) + LOGIT_BYTES,
        flops=n_tokens * forward_flops(quantities, heads=heads),
        basis="counted" if quantities.census.exact else "estimated",
        note=f"{rows:,} rows in the shards, of which {used:,} are in the sample",
        host_setting="embeddings.shard_tokens",
        disk_setting="embeddings.max_occurrences or embeddings.safety",
        device_setting="embeddings.batch_tokens",
    )


def _parts_bytes(rows: int, n_shards: int, quantities: Quantities) -> int:
    """Return the bytes of the states of all shards, of which the last is what is left over."""
    share = quantities.config.embeddings.shard_tokens / max(1, quantities.corpus.n_training_tokens)
    full = min(rows, int(rows * share))
    row_bytes = state_row_bytes(quantities) - 16
    last = rows - (n_shards - 1) * full
    return (n_shards - 1) * array_bytes(full, row_bytes) + array_bytes(last, row_bytes)


def senses(quantities: Quantities) -> StagePlan:
    """Plan the senses (Eq. 1): k centroids a token, once in shards (float32) and once joined."""
    config, d = quantities.config.senses, quantities.teacher.hidden_size
    used = quantities.census.rows(quantities.config.embeddings.max_occurrences)
    rows = quantities.census.rows(config.n_senses)
    tokens = quantities.census.n_covered
    index = 4 * rows + 20 * tokens
    examples = min(rows * config.n_examples, used)
    n_shards = max(1, -(-used // config.shard_rows))
    # The shards have float32, the inventory float16.
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
        host_bytes=2 * piece + 4 * d * (-(-rows // n_shards)) + 4 * quantities.corpus.n_tokens,
        device_bytes=2 * piece,
        float32_flops=products,
        moved_bytes=2.0 * 4 * used * d * iterations * reads,
        basis="counted" if quantities.census.exact else "estimated",
        note=f"{tokens:,} tokens, {rows:,} senses of {used:,} embeddings",
        host_setting="senses.batch_bytes",
        disk_setting="senses.n_senses",
        device_setting="senses.batch_bytes",
    )


def dictionary(quantities: Quantities) -> StagePlan:
    """Plan the dictionary (Eq. 2): rows in float16, and lists of them for every token."""
    d, rows = quantities.teacher.hidden_size, dictionary_rows(quantities)
    covered, config = quantities.census.n_covered, quantities.config.dictionary
    links = covered * min(LINKS_PER_TOKEN, config.max_synonyms + config.max_antonyms)
    lists = 4 * int(links * rows / max(1, covered + quantities.n_composed))
    offsets = 3 * 8 * (quantities.teacher.n_vocabulary + 1)
    words = WORD_BYTES * 2 * (covered + quantities.n_composed)
    composing = (
        3 * min(_WORDS_A_TIME, quantities.n_composed) * quantities.config.senses.n_senses * d * 4
    )
    return StagePlan(
        "dictionary",
        stored_bytes=array_bytes(rows, 2 * d) + lists + offsets + words,
        host_bytes=rows * d * 2 + composing + 4 * quantities.corpus.n_tokens,
        float32_flops=2.0 * rows * quantities.config.senses.n_senses * d,
        note=f"{rows:,} rows; {quantities.n_composed:,} composed words "
        f"({quantities.composed_basis})",
        host_setting="senses.n_senses",
    )


def activations(quantities: Quantities, *, cached: bool) -> StagePlan:
    """Plan the activations: a teacher forward, two passes over the vocabulary at each T.

    They form logits and e_t.

    Online only the held-out text is captured, and a sample to calibrate the margin on. Text of
    other domains is captured whole.
    """
    size = quantities.corpus
    kept = captured_bytes(quantities.teacher.hidden_size, quantities.config.training)
    others = quantities.other_texts
    tokens = _captured_tokens(quantities, cached=cached) + quantities.n_other_positions
    n_windows = int(tokens * size.n_windows / max(1, size.n_tokens))
    note = "of training and held-out text" if cached else "of held-out text and a sample (online)"
    if others:
        named = ", ".join(f"{name} {text.n_tokens:,}" for name, text in others.items())
        note += f", and of other texts (tokens: {named})"
    shard = min(SHARD_TOKENS, tokens)
    return StagePlan(
        "activations",
        tokens,
        n_windows,
        max(1, -(-tokens // SHARD_TOKENS)),
        stored_bytes=tokens * kept,
        host_bytes=4 * size.n_tokens + 2 * shard * kept,
        device_bytes=weight_bytes(quantities)
        + _batch_bytes(quantities, BATCH_TOKENS)
        + _vocabulary_bytes(quantities, BATCH_TOKENS, n_buffers=1),
        flops=capture_flops(quantities, tokens),
        basis="counted" if size.windows is not None else "estimated",
        note=note,
        host_setting="training.max_train_tokens",
        disk_setting="training.max_train_tokens",
        device_setting="teacher.dtype",
    )


def candidates(quantities: Quantities, *, cached: bool) -> StagePlan:
    """Plan the candidates: the kappa rows nearest to every state, ids only."""
    tokens, training = _captured_tokens(quantities, cached=cached), quantities.config.training
    rows = dictionary_rows(quantities) * quantities.teacher.hidden_size * 2
    return StagePlan(
        "candidates",
        tokens,
        stored_bytes=tokens
        * candidate_position_bytes(training.n_candidates, with_synonyms=training.ranks_synonyms),
        host_bytes=rows + (1 << 30),
        device_bytes=rows,
        note="row ids in the dictionary",
        host_setting="senses.n_senses",
        device_setting="senses.n_senses",
    )


def untrained_student(quantities: Quantities) -> StagePlan:
    """Plan the student before training, published once: a copy of some of the teacher's layers."""
    parameters, trained = quantities.n_student_parameters, quantities.n_trained_parameters
    return StagePlan(
        "untrained-student",
        stored_bytes=parameters * STATE_BYTES[quantities.config.teacher.dtype] + TOKENIZER_BYTES,
        host_bytes=weight_bytes(quantities),
        device_bytes=weight_bytes(quantities),
        fixed_bytes=weight_bytes(quantities),
        basis="counted",
        note=f"{quantities.shape.n_layers} layers, {parameters / 1e9:.3g} B parameters of which "
        f"{trained / 1e9:.2g} B train",
    )


def students(quantities: Quantities, *, cached: bool) -> StagePlan:
    """Plan the students: one a seed and arm, from stored activations or beside the teacher."""
    evaluation, training = quantities.config.evaluation, quantities.config.training
    n_students = len(evaluation.arms) * len(evaluation.seeds)
    trained = quantities.n_trained_parameters
    student_bytes = quantities.n_student_parameters * STATE_BYTES[quantities.config.teacher.dtype]
    epochs = training.n_epochs * quantities.n_training_positions
    beside = 0.0 if cached else epochs * online_flops(quantities, 1)
    batch = training.batch_windows * quantities.config.corpus.window_tokens
    micro = -(-batch // (training.n_accumulated * training.n_ranks))
    rows = dictionary_rows(quantities) * quantities.teacher.hidden_size * 2
    tail = quantities.teacher.layer_parameters(quantities.tail_layers)
    models = student_bytes + (0 if cached else weight_bytes(quantities))
    fixed = models + optimizer_bytes(trained, tail) + quantities.teacher.head_parameters * 2 + rows
    return StagePlan(
        "students",
        int(epochs) * n_students,
        n_shards=n_students,
        stored_bytes=n_students * (student_bytes + TOKENIZER_BYTES),
        host_bytes=rows + student_bytes,
        device_bytes=fixed
        + _training_bytes(quantities, micro)
        + _vocabulary_bytes(quantities, micro, n_buffers=1 if cached else 2),
        fixed_bytes=fixed,
        flops=n_students * (student_flops(quantities) + beside),
        basis="counted" if quantities.corpus.windows is not None else "estimated",
        note=f"{n_students} of {student_bytes / 1e9:.3g} GB each; activations are held in memory "
        "where they take less than a quarter of it",
        host_setting="senses.n_senses",
        device_setting="training.batch_windows or raise training.n_accumulated",
        transient_bytes=trained * 12 * (training.n_checkpoints + 1),
        disk_setting="the number of evaluation.arms or evaluation.seeds",
        trains=True,
    )


def _captured_tokens(quantities: Quantities, *, cached: bool) -> int:
    trained = quantities.n_training_positions
    sampled = trained if cached else min(CALIBRATION_TOKENS, trained)
    return quantities.n_heldout_positions + sampled


def _batch_bytes(quantities: Quantities, n_tokens: int) -> int:
    """Return the memory of a forward without gradients: a layer's widest states, and its own."""
    widest = 3 * quantities.teacher.intermediate_size + 8 * quantities.teacher.hidden_size
    return n_tokens * widest * STATE_BYTES[quantities.config.teacher.dtype]


def _training_bytes(quantities: Quantities, n_tokens: int) -> int:
    """Return what a step keeps for its backward pass."""
    item_bytes = STATE_BYTES[quantities.config.training.compute_dtype]
    kept = kept_bytes(quantities.teacher, len(quantities.tail_layers), item_bytes)
    return n_tokens * (kept + 5 * 4 * quantities.teacher.hidden_size)


def _vocabulary_bytes(quantities: Quantities, n_tokens: int, *, n_buffers: int) -> int:
    return pass_bytes(
        n_tokens,
        quantities.teacher.n_vocabulary,
        item_bytes=STATE_BYTES[quantities.config.teacher.dtype],
        n_buffers=n_buffers,
        compiled=quantities.config.training.compile_head,
    )
