"""One pass of the teacher: what a student's training needs of it, window by window."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dskd_core.config import TeacherConfig, TrainingConfig
from dskd_core.corpus.store import Windows
from dskd_core.decoder.batches import padded, plan_batches
from dskd_core.decoder.compilation import CompiledLayers, run_compiled
from dskd_core.decoder.decoder import Decoder, load_teacher
from dskd_core.decoder.placement import onto
from dskd_core.embeddings.sampling import occurrence_hashes
from dskd_core.errors import CapacityError
from dskd_core.store.artifacts import Artifact
from dskd_core.training.losses.logits import Buffers
from dskd_core.training.losses.targets import TeacherTargets
from dskd_core.training.student.shape import Shape, load_student, shape_of
from dskd_core.training.student.tail import Span, capturing

TEXT, PROMPT, ANSWER = 0, 1, 2
BATCH_TOKENS = 4096


@dataclass(frozen=True)
class WindowStates:
    """The teacher's states in one window; n positions, the prefix first.

    Attributes:
        window: its number in the corpus.
        labels: [n] int64, x_(t+1), -1 where there is none or it is not scored.
        roles: [n] int64, what the *label* is: TEXT, or of a PROMPT or an ANSWER.
        entering: [n, d], h, the state that enters the student's first trainable layer.
        teacher_states: [n, d], m_t, the teacher's final state.
        bridge: [n, d], the state that enters the teacher's layer behind the widest gap between the
            student's; None where no recipe needs it.
    """

    window: int
    labels: Tensor
    roles: Tensor
    entering: Tensor
    teacher_states: Tensor
    bridge: Tensor | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class WindowActivations(WindowStates):
    """All that the teacher leaves in one window: with them, it is not needed in training.

    Attributes:
        targets: e_t, entropy and argmax of every position, at training.temperature.
        other_targets: the same at each other temperature that a recipe has.
    """

    targets: TeacherTargets
    other_targets: Mapping[float, TeacherTargets] = field(default_factory=dict, kw_only=True)


def sample_windows(windows: Windows, *, heldout: bool, budget: int | None) -> NDArray[np.int64]:
    """Return windows to train on, or to score on: a hash-random choice within a token budget."""
    members = np.flatnonzero(windows.heldout == heldout)
    if budget is None or not len(members):
        return members
    hashes = windows.document_hashes[windows.documents[members]]
    order = members[np.argsort(occurrence_hashes(hashes, windows.starts[members], seed=0))]
    n_fit = int(np.searchsorted(np.cumsum(windows.lengths[order]), budget, side="right"))
    return np.sort(order[: max(1, n_fit)])


def check_batch(config: TrainingConfig, n_windows: int) -> None:
    """Check that a step does not take more windows than there are to train on.

    It would see some of them several times, and the run would pass over the text more often than
    ``n_epochs`` says.

    Raises:
        CapacityError: if it does; nothing is said where there are none at all.
    """
    if 0 < n_windows < config.batch_windows:
        raise CapacityError(
            f"training.batch_windows {config.batch_windows:,} is more than the {n_windows:,} "
            f"windows there are to train on, so one step is {config.batch_windows / n_windows:.3g} "
            "passes over them; lower it, or give more text."
        )


def length_sorted_batches(windows: Windows, members: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Group windows into the batches the teacher runs."""
    return plan_batches(windows.lengths, members, BATCH_TOKENS)


def labels_of(windows: Windows, window: int) -> NDArray[np.int64]:
    """Return x_(t+1) at every position of a window, -1 at the prefix and where there is none."""
    return np.append(np.full(len(windows.prefix), -1), windows.next_tokens(window))


def roles_of(windows: Windows, window: int) -> NDArray[np.int64]:
    """Return what the label of each position is: TEXT, or of a PROMPT or an ANSWER."""
    n_prefix, length = len(windows.prefix), int(windows.lengths[window])
    if windows.answers is None:
        return np.full(n_prefix + length, TEXT)
    start = windows.offsets[window]
    is_answer = windows.answers[start + 1 : start + length]
    return np.concatenate(
        [np.full(n_prefix, PROMPT), np.where(is_answer, ANSWER, PROMPT), [PROMPT]]
    )


@dataclass(frozen=True)
class Capturer:
    """The teacher, and where in it the student's training is entered.

    Attributes:
        teacher: the whole model.
        shape: the student's layers.
        middle: the student's frozen layers that are not the teacher's own at that depth, if any.
        fast: the teacher's layers compiled, if they are to be.
        buffers: memory of logits, kept from batch to batch.
        reads_gap: whether the state behind the student's gap is kept, too.
    """

    teacher: Decoder
    shape: Shape
    middle: Span | None
    fast: CompiledLayers | None = None
    buffers: Buffers = field(default_factory=Buffers)
    reads_gap: bool = False

    @classmethod
    def load(
        cls,
        teacher: Artifact,
        untrained: Artifact,
        config: TeacherConfig,
        *,
        reads_gap: bool = False,
    ) -> "Capturer":
        """Load the teacher, and of the student what the teacher lacks."""
        model, shape = load_teacher(teacher, config), shape_of(untrained)
        middle = None
        if shape.shared < shape.entry:
            student = load_student(untrained, config)
            middle = Span(student, shape.shared, shape.entry)
        return cls(model, shape, middle, reads_gap=reads_gap)

    def compiled(self, length: int) -> "Capturer":
        """Return one whose teacher runs compiled over windows of ``length`` positions."""
        return replace(self, fast=CompiledLayers(self.teacher.layers, length))

    @torch.inference_mode()
    def run(self, windows: Windows, batch: NDArray[np.int64]) -> list[WindowStates]:
        """Run the teacher over one batch of windows.

        Returns:
            The states of each window, in the teacher's dtype, on its device.
        """
        rows = [windows.window(int(window)) for window in batch]
        ids = onto(padded(rows, windows.prefix), self.teacher.device)
        entered = self.teacher.layers[self.shape.shared]
        with ExitStack() as stack:
            stack.enter_context(run_compiled(self.fast, ids))
            caught = stack.enter_context(capturing(entered))
            bridge: list[Tensor] = []
            if self.reads_gap:
                behind = self.teacher.layers[self.shape.layers[self.shape.behind_gap]]
                bridge = stack.enter_context(capturing(behind))
            states = self.teacher.states(ids)
        entering = self.middle.before_norm(caught[0]) if self.middle else caught[0]
        lengths = [len(windows.prefix) + len(row) for row in rows]
        return [
            WindowStates(
                int(window),
                torch.from_numpy(labels_of(windows, int(window)).astype(np.int64)),
                torch.from_numpy(roles_of(windows, int(window)).astype(np.int64)),
                entering[line, :length],
                states[line, :length],
                bridge=bridge[0][line, :length] if bridge else None,
            )
            for line, (window, length) in enumerate(zip(batch, lengths, strict=True))
        ]

    @torch.inference_mode()
    def run_with_targets(
        self,
        windows: Windows,
        batch: NDArray[np.int64],
        *,
        temperature: float,
        compiled: bool,
        others: Sequence[float] = (),
    ) -> list[WindowActivations]:
        """Run the teacher over one batch of windows, and form what it leaves behind.

        ``others`` are temperatures besides T that targets are wanted at.
        """
        found = self.run(windows, batch)
        lengths = [len(window.labels) for window in found]
        states = torch.cat([window.teacher_states for window in found])
        at = {
            each: TeacherTargets.from_states(
                states,
                self.teacher.output,
                temperature=each,
                compiled=compiled,
                buffers=self.buffers,
            ).split(lengths)
            for each in (temperature, *others)
        }
        return [
            WindowActivations(
                **vars(window),
                targets=at[temperature][place],
                other_targets={other: at[other][place] for other in others},
            )
            for place, window in enumerate(found)
        ]
