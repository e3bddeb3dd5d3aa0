"""The teacher's side of the vocabulary pass: what it left behind, or its states.

Where e_t and the entropy say all of it (see vocabulary.py), nothing of the teacher is computed
again; else its logits are formed from its states, chunk by chunk, beside the student's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dskd_core.decoder.head import Head, as_head
from dskd_core.decoder.placement import onto
from dskd_core.training.losses.kernels import (
    Divergence,
    forward_kl,
    kernel,
    paired,
    single,
    teaching,
)
from dskd_core.training.losses.logits import Buffers, Walk, wide


@dataclass(frozen=True)
class TeacherTargets:
    """What the teacher's distribution at temperature T leaves behind, per position.

    Exact for the forward KL of a head without bias or soft cap, see :func:`targets_suffice`.

    Attributes:
        expected: [n, d] e_t = W^T p_t.
        entropy: [n] float32, H(p_t) in nats.
        predicted: [n] int64, argmax of the teacher's logits.
    """

    expected: Tensor
    entropy: Tensor
    predicted: Tensor

    @classmethod
    @torch.no_grad()
    def from_states(
        cls,
        teacher_states: Tensor,
        head: Tensor | Head,
        *,
        temperature: float,
        compiled: bool = False,
        buffers: Buffers | None = None,
    ) -> "TeacherTargets":
        """Form e_t, the entropy and the argmax of the teacher at each position.

        Args:
            teacher_states: [n, d], final states m_t.
            head: [V, d]; products run in its dtype, softmax and sums in float32 or wider.
            temperature: T.
            compiled: whether the element-wise part is compiled.
            buffers: kept from batch to batch, where there are many.
        """
        walk = Walk(as_head(head), len(teacher_states), temperature, 0.0, compiled, buffers)
        teach = kernel(teaching, compiled=compiled, softcapped=walk.head.softcap is not None)
        expected, entropy, predicted = [], [], []
        for rows in walk.chunks():
            logits = walk.logits(teacher_states[rows])
            predicted.append(logits.max(dim=1).indices)
            entropy.append(walk.apply(teach, len(logits), walk.buffer)[0])
            expected.append(wide(logits @ walk.head.weight))
        return cls(torch.cat(expected), torch.cat(entropy), torch.cat(predicted))

    @classmethod
    def from_windows(cls, windows: Sequence["TeacherTargets"]) -> "TeacherTargets":
        """Put the positions of windows one after the other."""
        columns = zip(*(window._columns for window in windows), strict=True)
        return cls(*map(torch.cat, columns))

    def split(self, lengths: list[int]) -> list["TeacherTargets"]:
        """Return the targets of windows that were one after the other."""
        windows = zip(*(torch.split(column, lengths) for column in self._columns), strict=True)
        return [TeacherTargets(*window) for window in windows]

    def to(self, device: torch.device) -> "TeacherTargets":
        """Return them on a device."""
        return TeacherTargets(*(onto(column, device) for column in self._columns))

    def at(self, rows: Tensor) -> "TeacherTargets":
        """Return some positions."""
        return TeacherTargets(*(column[rows] for column in self._columns))

    @property
    def _columns(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.expected, self.entropy, self.predicted

    def measure(
        self, walk: Walk, rows: slice, student_states: Tensor, gradient: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return logsumexp, KL and the e_t that the gradient of a chunk still lacks."""
        one = kernel(
            single, compiled=walk.compiled, squared=walk.temperature == 2.0, gradient=gradient
        )
        log_z, log_z_soft = walk.apply(one, len(student_states), walk.buffer)
        expected = wide(self.expected[rows])
        drawn = (wide(walk.enter(student_states)) * expected).sum(dim=1) / walk.temperature
        return log_z, log_z_soft - self.entropy[rows] - drawn, expected


@dataclass(frozen=True)
class TeacherStates:
    """The teacher's side as m_t, [n, d]: its logits are formed again, whatever the divergence."""

    teacher_states: Tensor
    divergence: Divergence

    def at(self, rows: Tensor) -> "TeacherStates":
        """Return some positions."""
        return TeacherStates(self.teacher_states[rows], self.divergence)

    def measure(
        self, walk: Walk, rows: slice, student_states: Tensor, gradient: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return logsumexp and divergence of a chunk; the gradient in its logits is whole."""
        options = {"softcapped": walk.head.softcap is not None, "gradient": gradient}
        if self.divergence == "forward_kl":
            squared = walk.temperature == 2.0
            both = kernel(forward_kl, compiled=walk.compiled, squared=squared, **options)
        else:
            both = kernel(paired, compiled=walk.compiled, divergence=self.divergence, **options)
        walk.logits(self.teacher_states[rows], walk.second)
        log_z, distance = walk.apply(both, len(student_states), walk.buffer, walk.second)
        return log_z, distance, None


TeacherSide = TeacherTargets | TeacherStates


def targets_suffice(head: Head, divergence: Divergence) -> bool:
    """Say whether e_t and the entropy give the divergence exactly, without the teacher's logits."""
    return divergence == "forward_kl" and head.is_linear
