"""One pass of the teacher: what a student's training needs of it, window by window."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dskd_core.config import TeacherConfig
from dskd_core.corpus.store import Windows
from dskd_core.decoder.batches import next_tokens, padded, plan_batches
from dskd_core.decoder.compilation import CompiledLayers, run_compiled
from dskd_core.embeddings.sampling import occurrence_hashes
from dskd_core.embeddings.teacher import Teacher, load_teacher
from dskd_core.store.artifacts import Artifact
from dskd_core.training.losses.logits import Buffers
from dskd_core.training.losses.targets import teacher_targets
from dskd_core.training.student.shape import Shape, load_student, shape_of
from dskd_core.training.student.tail import Span, capturing

TEXT, PROMPT, ANSWER = 0, 1, 2
BATCH_TOKENS = 4096


@dataclass(frozen=True)
class WindowActivations:
    """What one window leaves for training; n positions, the prefix first.

    Attributes:
        window: its number in the corpus.
        labels: [n] int64, x_(t+1), -1 where there is none or it is not scored.
        roles: [n] int64, what the *label* is: TEXT, or of a PROMPT or an ANSWER.
        entering: [n, d], h, the state that enters the student's first trainable layer.
        states: [n, d], m_t, the teacher's final state.
        expected: [n, d], e_t = W^T softmax(W m_t / T), see losses/vocabulary.py; None where the
            teacher is at hand and its logits are formed again.
        entropy: [n] float32, of the teacher at T, in nats; None likewise.
        predicted: [n] int64, argmax of the teacher; None likewise.
    """

    window: int
    labels: Tensor
    roles: Tensor
    entering: Tensor
    states: Tensor
    expected: Tensor | None = None
    entropy: Tensor | None = None
    predicted: Tensor | None = None


def chosen_windows(windows: Windows, *, heldout: bool, budget: int | None) -> NDArray[np.int64]:
    """Return windows to train on, or to score on: a hash-random choice within a token budget."""
    members = np.flatnonzero(windows.heldout == heldout)
    if budget is None or not len(members):
        return members
    keys = windows.document_keys[windows.documents[members]]
    order = members[np.argsort(occurrence_hashes(keys, windows.starts[members], seed=0))]
    n_fit = int(np.searchsorted(np.cumsum(windows.lengths[order]), budget, side="right"))
    return np.sort(order[: max(1, n_fit)])


def length_sorted_batches(windows: Windows, members: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Group windows into the batches the teacher runs."""
    return plan_batches(windows.lengths, members, BATCH_TOKENS)


def labels_of(windows: Windows, window: int) -> NDArray[np.int64]:
    """Return x_(t+1) at every position of a window, -1 at the prefix and where there is none."""
    return np.append(np.full(len(windows.prefix), -1), next_tokens(windows, window))


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
    """

    teacher: Teacher
    shape: Shape
    middle: Span | None
    fast: CompiledLayers | None = None
    buffers: Buffers = field(default_factory=Buffers)

    @classmethod
    def load(cls, teacher: Artifact, untrained: Artifact, config: TeacherConfig) -> "Capturer":
        """Load the teacher, and of the student what the teacher lacks."""
        model, shape = load_teacher(teacher, config), shape_of(untrained)
        middle = None
        if shape.shared < shape.entry:
            student = load_student(untrained, config)
            middle = Span(student, shape.shared, shape.entry, next(model.model.parameters()).dtype)
        return cls(model, shape, middle)

    def compiled(self, length: int) -> "Capturer":
        """Return one whose teacher runs compiled over windows of ``length`` positions."""
        return replace(self, fast=CompiledLayers(self.teacher.layers, length))

    @torch.inference_mode()
    def run(
        self,
        windows: Windows,
        batch: NDArray[np.int64],
        *,
        temperature: float | None,
        compiled: bool = False,
    ) -> list[WindowActivations]:
        """Run the teacher over one batch of windows.

        Args:
            windows: the corpus.
            batch: window numbers.
            temperature: T of the targets e_t and entropy; they are left out if None.
            compiled: whether the targets' element-wise part is compiled.

        Returns:
            The activations of each window, in the teacher's dtype, on its device.
        """
        rows = [windows.window(int(window)) for window in batch]
        ids = padded(rows, windows.prefix).to(self.teacher.device)
        entered = self.teacher.layers[self.shape.shared]
        with run_compiled(self.fast, ids), capturing(entered) as caught:
            states = self.teacher.states(ids)
        entering = self.middle.before_norm(caught[0]) if self.middle else caught[0]
        lengths = [len(windows.prefix) + len(row) for row in rows]
        found = [
            WindowActivations(
                int(window),
                torch.from_numpy(labels_of(windows, int(window)).astype(np.int64)),
                torch.from_numpy(roles_of(windows, int(window)).astype(np.int64)),
                entering[line, :length],
                states[line, :length],
            )
            for line, (window, length) in enumerate(zip(batch, lengths, strict=True))
        ]
        if temperature is None:
            return found
        return self._with_targets(found, lengths, temperature, compiled)

    def _with_targets(
        self,
        found: list[WindowActivations],
        lengths: list[int],
        temperature: float,
        compiled: bool,
    ) -> list[WindowActivations]:
        flat = torch.cat([window.states for window in found])
        targets = teacher_targets(
            flat,
            self.teacher.output,
            temperature=temperature,
            compiled=compiled,
            buffers=self.buffers,
        )
        pieces = zip(
            torch.split(targets.expected, lengths),
            torch.split(targets.entropy.float(), lengths),
            torch.split(targets.predicted, lengths),
            strict=True,
        )
        return [
            replace(window, expected=expected, entropy=entropy, predicted=predicted)
            for window, (expected, entropy, predicted) in zip(found, pieces, strict=True)
        ]
