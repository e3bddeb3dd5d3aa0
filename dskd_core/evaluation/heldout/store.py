"""One model, the teacher or a student, on the held-out windows.

``windows.parquet`` has one row for each held-out window, in corpus order. Quantities are *sums*
over positions, each with the count it is divided by, so that windows can be pooled, paired and
resampled without their positions:

    window                       int32    of the corpus
    document                     uint64   hash of its document
    n_positions                  int32    positions with a next token
    ce, kl                       double   nats; kl to the teacher at temperature T
    top1_agreement, accuracy     double   positions where the argmax is the teacher's, the text's
    state_mse                    double   MSE(n_t, m_t)
    n_with_positives             int32    positions whose next token has own or synonyms' senses
    own_synonym_mse              double   mean MSE(n_t, p) over the kappa positives nearest to m_t
    n_with_negatives             int32    positions whose next token has antonyms' senses
    antonym_mse                  double   mean MSE(n_t, a) over the kappa negatives nearest to m_t
    n_with_both                  int32    positions with synonyms' and antonyms' senses
    n_synonym_nearer             int32    of those, a synonym's sense is nearer to n_t (L2) than
                                          every antonym's; own senses take no part

``positions.parquet`` has one row for each position with a next token, window by window, so that
any two models can be compared token by token later:

    window                       int32
    label                        int32    the next token
    predicted                    int32    the model's argmax
    ce                           float    nats
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from dskd_core.config import TeacherConfig, TrainingConfig
from dskd_core.decoder.decoder import Decoder, device_lock
from dskd_core.decoder.precision import processor_on, resolved_training
from dskd_core.errors import ArtifactError
from dskd_core.evaluation.heldout.metrics import METRICS
from dskd_core.evaluation.heldout.scorer import HeldoutScorer
from dskd_core.progress import Progress, silent
from dskd_core.store.artifacts import Artifact, ArtifactStore, Draft, Work
from dskd_core.training.activations.capture import WindowActivations
from dskd_core.training.activations.readers import StoredActivations
from dskd_core.training.loop.batch import padded_entering
from dskd_core.training.loop.inputs import Inputs
from dskd_core.training.student.shape import (
    MODEL,
    Shape,
    copy_tail,
    load_student,
    read_layers,
    shape_of,
)
from dskd_core.training.student.tail import Tail, run_tail

TABLE = "windows.parquet"
POSITIONS = "positions.parquet"
_BATCH_WINDOWS = 8
_COUNTS = ("n_positions", "n_with_positives", "n_with_negatives", "n_with_both", "n_synonym_nearer")


def score_student(
    store: ArtifactStore,
    config: TrainingConfig,
    teacher_config: TeacherConfig,
    inputs: Inputs,
    student: Artifact | None,
    *,
    progress: Progress = silent,
) -> Artifact:
    """Score a student on the held-out windows, from its exported checkpoint.

    Only its trained layers run, entered with the stored states. The teacher's states are stored
    too, so that its weights are not needed. Windows for validation take no part. The temperature
    and kappa are those of the activations and candidates.

    Args:
        store: where the scores are kept.
        config: of the training; only ``compute_dtype`` and the validation settings matter here.
        teacher_config: the device.
        inputs: what the student was made from, with the dictionary's own relations.
        student: the student, or None to score the teacher's own states.
        progress: told held-out windows done.

    Raises:
        ArtifactError: if the inputs were not made from one another, or nothing is held out.
    """
    _check_same_making(inputs, student)
    config = resolved_training(config, teacher_config.device)
    work = _work(config, inputs, student)
    if found := store.find(work):
        return found
    with device_lock, store.publish(work) as draft:
        draft.computed(config.compute_dtype, processor_on(teacher_config.device))
        activations = StoredActivations(
            inputs.activations, store, validation_share=config.validated_share
        )
        if not activations.heldout:
            raise ArtifactError(
                f"The activations {inputs.activations.fingerprint} have 0 held-out windows; "
                "raise corpus.heldout_share or training.max_heldout_tokens."
            )
        untrained, tail = load_student(inputs.untrained, teacher_config), None
        if student is not None:
            tail = student_tail(untrained, shape_of(inputs.untrained), student)
        scorer = HeldoutScorer.from_student(untrained, inputs, config.compute_dtype)
        windows, positions = _score_windows(
            scorer, tail, activations, config.compute_dtype, progress
        )
        draft.write_table(TABLE, windows)
        draft.write_table(POSITIONS, positions)
        _summarise(draft, windows, inputs.untrained, student)
    return store.get(work.stage, work.fingerprint)


def student_tail(untrained: Decoder, shape: Shape, student: Artifact) -> Tail:
    """Return the trained layers of an exported student, and the final norm, ready to run."""
    tail = copy_tail(untrained, shape)
    folder = student.folder(weights=True) / MODEL
    first, norm = shape.entry, shape.trains_norm
    tail.load(read_layers(folder, first=first, frozen=shape.frozen, norm=norm))
    return tail


def _work(config: TrainingConfig, inputs: Inputs, student: Artifact | None) -> Work:
    read = {
        "untrained-student": inputs.untrained,
        "activations": inputs.activations,
        "candidates": inputs.candidates,
        "dictionary": inputs.dictionary,
    }
    if student is not None:
        read["student"] = student
    return Work(
        "scores",
        {"compute_dtype": config.compute_dtype, "validation_share": config.validated_share},
        {name: artifact.fingerprint for name, artifact in read.items()},
        version=2,
    )


def _score_windows(
    scorer: HeldoutScorer,
    tail: Tail | None,
    activations: StoredActivations,
    compute_dtype: str,
    progress: Progress,
) -> tuple[pa.Table, pa.Table]:
    """Score every held-out window; return the table of windows and that of positions."""
    rows: list[dict[str, float]] = []
    positions: list[pa.Table] = []
    for windows in _batches(activations):
        for window, n in zip(windows, _states(tail, windows, compute_dtype), strict=True):
            place = {"window": window.window, "document": activations.document(window.window)}
            sums, table = scorer.score(n, window)
            rows.append(place | sums)
            positions.append(table)
        progress(len(rows), len(activations.heldout), "windows")
    return _table(rows), pa.concat_tables(positions).combine_chunks()


def _batches(activations: StoredActivations) -> Iterator[list[WindowActivations]]:
    for start in range(0, len(activations.heldout), _BATCH_WINDOWS):
        yield activations.read(activations.heldout[start : start + _BATCH_WINDOWS])


@torch.no_grad()
def _states(
    tail: Tail | None, windows: Sequence[WindowActivations], compute_dtype: str
) -> list[Tensor]:
    """Return the model's final states of each window, [n, d] float32; without a tail m_t."""
    if tail is None:
        return [window.teacher_states for window in windows]
    flat = run_tail(tail, *padded_entering(windows), compute_dtype)
    return list(torch.split(flat, [len(window.labels) for window in windows]))


def _table(rows: list[dict[str, float]]) -> pa.Table:
    types = {"document": pa.uint64()} | dict.fromkeys(("window", *_COUNTS), pa.int32())
    schema = pa.schema([(key, types.get(key, pa.float64())) for key in rows[0]])
    return pa.Table.from_pylist(rows, schema=schema)


def _summarise(
    draft: Draft, table: pa.Table, untrained: Artifact, student: Artifact | None
) -> None:
    """Say in the record whose scores these are, and their means over positions."""
    totals = {name: float(np.sum(table[name].to_numpy())) for name in table.column_names}
    means = {
        metric.name: totals[metric.total] / totals[metric.count]
        for metric in METRICS
        if totals[metric.count]
    }
    about = {"arm": "teacher", "seed": None, "fingerprint": None}
    start = untrained.record.report
    counts = {"layers": start["teacher_layers"], "parameters": start["teacher_parameters"]}
    if student is not None:
        about = {name: student.record.report[name] for name in ("arm", "seed")}
        about["fingerprint"] = student.fingerprint
        counts = {name: student.record.counts[name] for name in ("layers", "parameters")}
    draft.counts |= counts | {
        "windows": len(table),
        "documents": len(set(table["document"].to_pylist())),
        "positions": int(totals["n_positions"]),
        "positions_with_synonyms_and_antonyms": int(totals["n_with_both"]),
    }
    draft.report |= {
        "arm": about["arm"],
        "seed": about["seed"],
        "student": about["fingerprint"],
        "means": means,
        "perplexity": math.exp(means["ce"]),
        "teacher": start["source"],
    }


def _check_same_making(inputs: Inputs, student: Artifact | None) -> None:
    """Refuse artifacts that were not made from one another."""
    made = [
        (inputs.activations, "untrained-student", inputs.untrained),
        (inputs.candidates, "activations", inputs.activations),
        (inputs.candidates, "dictionary", inputs.dictionary),
    ]
    if student is not None:
        made.append((student, "untrained-student", inputs.untrained))
    for artifact, name, given in made:
        theirs = artifact.record.inputs[name]
        if theirs != given.fingerprint:
            raise ArtifactError(
                f"The {artifact.record.stage} {artifact.fingerprint} was made with {name} "
                f"{theirs}, not {given.fingerprint}; name that {name} or make it again."
            )
