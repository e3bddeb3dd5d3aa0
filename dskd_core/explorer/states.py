"""What a student was before training, and its states at a few held-out positions then and after.

Held-out scores keep means over windows of students that were trained. So the one before training is
scored here, as they were, and what a student's own state is at one position is made anew. Trained
layers run, on the CPU and in float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import psutil
import torch
import zarr
from numpy.typing import NDArray

from dskd_core.config import TeacherConfig
from dskd_core.decoder.states import decode_states
from dskd_core.errors import ArtifactError, CapacityError
from dskd_core.evaluation.heldout.metrics import means_of, totals_of
from dskd_core.evaluation.heldout.scorer import HeldoutScorer
from dskd_core.evaluation.heldout.store import student_tail
from dskd_core.evaluation.heldout.windows import score_windows
from dskd_core.explorer.opened import import_transformers
from dskd_core.progress import Progress
from dskd_core.store.arrays import get_array
from dskd_core.store.artifacts import Artifact, ArtifactStore
from dskd_core.training.activations.layout import SHARD
from dskd_core.training.activations.readers import StoredActivations
from dskd_core.training.loop.inputs import Inputs
from dskd_core.training.student.shape import copy_tail, load_student, shape_of
from dskd_core.training.student.tail import Tail, run_tail

BEFORE = "before training"
_COPIES = 3
"""The student as it is stored, as it is loaded, and the layers that run: at most so many times."""


@dataclass(frozen=True)
class Place:
    """A held-out position: its window, and which of the scored positions of that it is, from 0."""

    window: int
    scored: int


class HeldoutWindows:
    """The windows of some activations, read one by one."""

    def __init__(self, store: ArtifactStore, activations: Artifact) -> None:
        self._shards = [shard.group(SHARD) for shard in store.shards_of(activations)]

    def find(self, place: Place) -> tuple[int, int, int]:
        """Return where a position stands: its shard, the window's first row there, and its own.

        Raises:
            ArtifactError: if no shard has the window.
        """
        for number, shard in enumerate(self._shards):
            windows = get_array(shard, "windows")
            index = int(np.searchsorted(windows, place.window))
            if index == len(windows) or windows[index] != place.window:
                continue
            start, stop = (int(v) for v in get_array(shard, "offsets")[index : index + 2])
            labels = get_array(shard, "labels", slice(start, stop))
            return number, start, start + int(np.flatnonzero(labels >= 0)[place.scored])
        raise ArtifactError(
            f"The activations have no window {place.window}; score the students anew "
            "(dskd/evaluate)."
        )

    def states(self, number: int, name: str, start: int, stop: int) -> NDArray[np.float32]:
        """Return rows of ``teacher_states`` or ``entering`` of a shard, [n, d]."""
        shard: zarr.Group = self._shards[number]
        return decode_states(get_array(shard, name, slice(start, stop)), str(shard.attrs["dtype"]))


def run_students(
    store: ArtifactStore, scores: Sequence[Artifact], places: Sequence[Place], progress: Progress
) -> list[NDArray[np.float32]]:
    """Return the final states at some positions, of the student before training and of each after.

    Args:
        store: with the students and what they were made from.
        scores: of students of one shape, on the same activations.
        places: the positions.
        progress: told windows, of all models together.

    Returns:
        [n, d] of the untrained student, then of each of ``scores``.

    Raises:
        ArtifactError: if weights or activations are not there, or are damaged.
        CapacityError: if the student does not fit into the memory that is free.
    """
    inputs = scores[0].record.inputs
    untrained = store.get("untrained-student", inputs["untrained-student"])
    students = [store.get("student", one.record.inputs["student"]) for one in scores]
    _check_memory(untrained)
    import_transformers()
    windows = HeldoutWindows(store, store.get("activations", inputs["activations"]))
    before = load_student(untrained, _as_written(untrained))
    shape, found = shape_of(untrained), []
    for number, student in enumerate([None, *students]):
        tail = student_tail(before, shape, student) if student else copy_tail(before, shape)
        rows = []
        for index, place in enumerate(places):
            progress(number * len(places) + index, (1 + len(students)) * len(places), "windows")
            rows.append(_final_state(tail, windows, place))
        found.append(np.stack(rows))
    return found


@torch.no_grad()
def _final_state(tail: Tail, windows: HeldoutWindows, place: Place) -> NDArray[np.float32]:
    """Return n_t at a position, [d]; only what stands before it in its window is run."""
    shard, start, at = windows.find(place)
    entering = torch.from_numpy(windows.states(shard, "entering", start, at + 1))
    return run_tail(tail, entering[None], None, "float32")[-1].numpy()


def score_before_training(
    store: ArtifactStore, scores: Artifact, progress: Progress
) -> dict[str, float]:
    """Return the means of a student before training, over the positions that it was scored at.

    Args:
        store: with the student and what it was made from.
        scores: of the trained student, or of the teacher, on the same activations.
        progress: told windows.

    Returns:
        What ``means`` of the report of scores has, but for those by frequency.

    Raises:
        ArtifactError: if weights, activations or candidates are not there, or are damaged.
        CapacityError: if the student does not fit into the memory that is free.
    """
    read = scores.record.inputs
    stages = ("untrained-student", "activations", "dictionary", "candidates")
    inputs = Inputs(*(store.get(stage, read[stage]) for stage in stages))
    _check_memory(inputs.untrained, inputs.dictionary)
    import_transformers()
    share = float(scores.record.config["validation_share"])
    activations = StoredActivations(inputs.activations, store, validation_share=share)
    before = load_student(inputs.untrained, _as_written(inputs.untrained))
    progress(0, len(activations.heldout), "windows")
    windows, _ = score_windows(
        HeldoutScorer.from_student(before, inputs, "float32"),
        copy_tail(before, shape_of(inputs.untrained)),
        activations,
        np.zeros(before.n_tokens, np.int64),  # how often tokens were trained is asked by nobody
        "float32",
        progress,
    )
    return means_of(totals_of(windows))


def _as_written(untrained: Artifact) -> TeacherConfig:
    """Return how to load a student here: in the precision of the run, whatever is native here."""
    return TeacherConfig(device="cpu", dtype=untrained.record.config["dtype"])


def _check_memory(untrained: Artifact, *others: Artifact) -> None:
    needed = _COPIES * untrained.record.n_bytes + sum(one.record.n_bytes for one in others)
    free = psutil.virtual_memory().available
    if needed > free:
        raise CapacityError(
            f"Running the students takes up to {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB of "
            "memory are free; look at this page on a larger machine."
        )
