"""The teacher's side of the vocabulary pass: what it left behind, or its states.

Where e_t and the entropy say all of it (see vocabulary.py), nothing of the teacher is computed
again; else its logits are formed from its states, chunk by chunk, beside the student's.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dskd_core.decoder.head import Head, as_head
from dskd_core.errors import ConfigError
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

    Attributes:
        expected: [n, d] e_t = W^T p_t.
        entropy: [n] float32, H(p_t) in nats.
        predicted: [n] int64, argmax of the teacher's logits.
    """

    expected: Tensor
    entropy: Tensor
    predicted: Tensor


@torch.no_grad()
def teacher_targets(
    states: Tensor,
    head: Tensor | Head,
    *,
    temperature: float,
    compiled: bool = False,
    buffers: Buffers | None = None,
) -> TeacherTargets:
    """Return e_t, the entropy and the argmax of the teacher at each position.

    Args:
        states: [n, d], final states m_t.
        head: [V, d]; products run in its dtype, softmax and sums in float32 or wider.
        temperature: T.
        compiled: whether the element-wise part is compiled.
        buffers: kept from batch to batch, where there are many.
    """
    walk = Walk(as_head(head), len(states), temperature, 0.0, compiled, buffers)
    teach = kernel(teaching, compiled=compiled, softcapped=walk.head.softcap is not None)
    expected, entropy, predicted = [], [], []
    for rows in walk.chunks():
        logits = walk.logits(states[rows])
        predicted.append(logits.max(dim=1).indices)
        entropy.append(walk.apply(teach, len(logits), walk.buffer)[0])
        expected.append(wide(logits @ walk.head.weight))
    return TeacherTargets(torch.cat(expected), torch.cat(entropy), torch.cat(predicted))


@dataclass(frozen=True)
class LeftBehind:
    """The teacher's side as e_t and entropy: nothing of it is left to compute."""

    expected: Tensor
    entropy: Tensor

    def at(self, rows: Tensor) -> "LeftBehind":
        """Return some positions."""
        return LeftBehind(self.expected[rows], self.entropy[rows])

    def measure(
        self, walk: Walk, rows: slice, states: Tensor, gradient: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return logsumexp, KL and the e_t that the gradient of a chunk still lacks."""
        one = kernel(
            single, compiled=walk.compiled, squared=walk.temperature == 2.0, gradient=gradient
        )
        log_z, log_z_soft = walk.apply(one, len(states), walk.buffer)
        expected = wide(self.expected[rows])
        drawn = (wide(walk.enter(states)) * expected).sum(dim=1) / walk.temperature
        return log_z, log_z_soft - self.entropy[rows] - drawn, expected


@dataclass(frozen=True)
class FromStates:
    """The teacher's side as m_t: its logits are formed again, whatever the divergence."""

    states: Tensor
    divergence: Divergence

    def at(self, rows: Tensor) -> "FromStates":
        """Return some positions."""
        return FromStates(self.states[rows], self.divergence)

    def measure(
        self, walk: Walk, rows: slice, states: Tensor, gradient: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return logsumexp and divergence of a chunk; the gradient in its logits is whole."""
        options = {"softcapped": walk.head.softcap is not None, "gradient": gradient}
        if self.divergence == "forward_kl":
            squared = walk.temperature == 2.0
            both = kernel(forward_kl, compiled=walk.compiled, squared=squared, **options)
        else:
            both = kernel(paired, compiled=walk.compiled, divergence=self.divergence, **options)
        walk.logits(self.states[rows], walk.second)
        log_z, distance = walk.apply(both, len(states), walk.buffer, walk.second)
        return log_z, distance, None


TeacherSide = LeftBehind | FromStates


def teacher_side(
    head: Head,
    expected: Tensor | None,
    entropy: Tensor | None,
    states: Tensor | None,
    divergence: Divergence,
) -> TeacherSide:
    """Return the cheaper of what is given that is exact."""
    exact = divergence == "forward_kl" and head.is_linear
    if exact and expected is not None and entropy is not None:
        return LeftBehind(expected, entropy)
    if states is None:
        bent = "" if head.is_linear else " of a head with a bias or a soft cap"
        raise ConfigError(
            f"The {divergence}{bent} cannot be formed from what is given; give teacher_states "
            "(or, for the forward KL of a plain head, expected and entropy)."
        )
    return FromStates(states, divergence)
