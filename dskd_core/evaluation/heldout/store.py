"""One model, the teacher or a student, on the held-out windows, or on text of another domain.

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
    n_unseen, n_1_to_10, n_11_to_100, n_over_100
                                 int32    positions whose next token is the next one so often in the
                                          training data (frequency.py)
    ce_unseen, ...               double   nats, of those

On text of another domain (``other-scores``) there are no columns of positives and negatives.

``positions.parquet`` has one row for each position with a next token, window by window, so that
any two models can be compared token by token later:

    window                       int32
    label                        int32    the next token
    predicted                    int32    the model's argmax
    ce                           float    nats
    n_in_training                int64    how often its label is the next token in the training data
"""

import math
from dataclasses import dataclass

import pyarrow as pa

from dskd_core.config import TeacherConfig, TrainingConfig
from dskd_core.decoder.decoder import Decoder, device_lock
from dskd_core.decoder.precision import processor_on, resolved_training
from dskd_core.errors import ArtifactError
from dskd_core.evaluation.heldout.frequency import (
    FREQUENCY_METRICS,
    count_trained_labels,
)
from dskd_core.evaluation.heldout.metrics import METRICS, means_of, totals_of
from dskd_core.evaluation.heldout.scorer import HeldoutScorer
from dskd_core.evaluation.heldout.windows import score_windows
from dskd_core.progress import Progress, silent
from dskd_core.store.artifacts import Artifact, ArtifactStore, Draft, Work
from dskd_core.training.activations.readers import StoredActivations
from dskd_core.training.loop.inputs import Inputs
from dskd_core.training.student.export import read_layers
from dskd_core.training.student.shape import (
    MODEL,
    Shape,
    copy_tail,
    load_student,
    shape_of,
)
from dskd_core.training.student.tail import Tail

OTHER = "other-scores"
"""The stage of scores on text of another domain."""
TABLE = "windows.parquet"
POSITIONS = "positions.parquet"


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

    Of ``config`` only ``compute_dtype`` and the validation settings matter; the inputs are with the
    dictionary's own relations. Without a student the teacher's own states are scored.

    Raises:
        ArtifactError: if the inputs were not made from one another, or nothing is held out.
    """
    _check_same_making(inputs, student)
    config = resolved_training(config, teacher_config.device)
    work = _work(config, inputs, student)
    if found := store.find(work):
        return found
    activations = StoredActivations(
        inputs.activations, store, validation_share=config.validated_share
    )
    scored = Scored(inputs, student, activations)
    return _publish(store, work, config, teacher_config, scored, progress)


def score_other_text(
    store: ArtifactStore,
    config: TrainingConfig,
    teacher_config: TeacherConfig,
    inputs: Inputs,
    student: Artifact | None,
    name: str,
    other: Artifact,
    *,
    progress: Progress = silent,
) -> Artifact:
    """Score a student on text of another domain, as :func:`score_student` on held-out text.

    Distances to the nearest senses are not measured; frequencies are those of the training data.

    Of ``config`` only ``compute_dtype`` matters. ``other`` are the teacher's activations of the
    text; without a student the teacher's own states are scored.

    Raises:
        ArtifactError: if the inputs were not made from one another, or the text is empty.
    """
    _check_same_making(inputs, student)
    _check_made(other, "untrained-student", inputs.untrained)
    config = resolved_training(config, teacher_config.device)
    read = {a.record.stage: a for a in (inputs.untrained, other, inputs.dictionary, student) if a}
    settings = {
        "compute_dtype": config.compute_dtype,
        "text": name,
        "frequencies_of": inputs.activations.fingerprint,
    }
    work = Work(OTHER, settings, {stage: a.fingerprint for stage, a in read.items()})
    if found := store.find(work):
        return found
    text = store.get(other.record.report["text"]["stage"], other.record.inputs["text"])
    n_known = text.record.counts["n_documents_left_out_as_known"]
    scored = Scored(inputs, student, StoredActivations(other, store), name, n_known)
    return _publish(store, work, config, teacher_config, scored, progress)


@dataclass(frozen=True)
class Scored:
    """What is scored.

    Attributes:
        inputs: what the student was made from.
        student: None where the teacher itself is scored.
        activations: the teacher's, of the text that is scored on.
        name: of another text; None for held-out text.
        n_known: documents that were left out of another text.
    """

    inputs: Inputs
    student: Artifact | None
    activations: StoredActivations
    name: str | None = None
    n_known: int = 0


def _publish(
    store: ArtifactStore,
    work: Work,
    config: TrainingConfig,
    teacher_config: TeacherConfig,
    scored: Scored,
    progress: Progress,
) -> Artifact:
    """Score the windows of a text that are held out, all of another text's, and publish that."""
    inputs, student = scored.inputs, scored.student
    if not scored.activations.heldout:
        raise ArtifactError(
            f"The activations {inputs.activations.fingerprint} have 0 held-out windows; "
            "raise corpus.heldout_share or training.max_heldout_tokens."
        )
    with device_lock, store.publish(work) as draft:
        draft.computed(config.compute_dtype, processor_on(teacher_config.device))
        untrained, tail = load_student(inputs.untrained, teacher_config), None
        if student is not None:
            tail = student_tail(untrained, shape_of(inputs.untrained), student)
        scorer = HeldoutScorer.from_student(
            untrained, inputs, config.compute_dtype, with_candidates=scored.name is None
        )
        counts = count_trained_labels(store, inputs.activations, untrained.n_tokens)
        windows, positions = score_windows(
            scorer, tail, scored.activations, counts, config.compute_dtype, progress
        )
        draft.write_table(TABLE, windows)
        draft.write_table(POSITIONS, positions)
        _summarise(draft, windows, inputs.untrained, student)
        if scored.name is not None:
            draft.report["text"] = scored.name
            draft.counts["documents_left_out_as_known"] = scored.n_known
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
        version=3,
    )


def _summarise(
    draft: Draft, table: pa.Table, untrained: Artifact, student: Artifact | None
) -> None:
    """Say in the record whose scores these are, and their means over positions."""
    totals = totals_of(table)
    means = means_of(totals, (*METRICS, *FREQUENCY_METRICS))
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
        _check_made(artifact, name, given)


def _check_made(artifact: Artifact, name: str, given: Artifact) -> None:
    theirs = artifact.record.inputs[name]
    if theirs != given.fingerprint:
        raise ArtifactError(
            f"The {artifact.record.stage} {artifact.fingerprint} was made with {name} "
            f"{theirs}, not {given.fingerprint}; name that {name} or make it again."
        )
