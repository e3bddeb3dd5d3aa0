"""The gap closed by least squares: a start for students that skip layers of their teacher.

What leaves the student's last layer before the gap was made for a layer the student does not have.
A decoder layer ends with a projection W into the residual stream, so the best W is known in closed
form. With u_t what enters the projection at position t, o_t what leaves the layer and B_t the state
that enters the teacher's layer behind the gap,

    D = argmin sum_t |o_t + c D u_t - B_t|^2 / |B_t|^2 + ridge |D|^2,    W <- W + D

where c is the layer's own factor on the branch, 1 in most families. ReplaceMe (arXiv:2505.02819)
fits a d x d map of the same branch; the projection itself is wider and needs no map.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dskd_core import interruption
from dskd_core.errors import ConfigError
from dskd_core.training.student.tail import Span, leaving

_RIDGE = 0.1
"""Of the mean of u_t^2. Between 0.01 and 0.1 a student of SmolLM2 was as good to 0.002 nats."""
_MIN_POSITIONS = 16_384
_POSITIONS_PER_COLUMN = 10
_TOLERANCE = 0.05
"""Of the check that a branch is added as it is, which runs in the teacher's precision."""


@dataclass(frozen=True)
class Projection:
    """The last projection of a layer into the residual stream.

    Attributes:
        name: in the layer, ``mlp.down_proj``.
        factor: c, what the layer multiplies its output with before it adds it.
    """

    name: str
    factor: float


@dataclass(frozen=True)
class GapStates:
    """Some windows at the gap.

    Attributes:
        entering: [n_windows, length, d], what enters the student's first trainable layer.
        real: [n] int64, places of the real positions among all of them; None: they are all.
        behind: [n, d], B, what enters the teacher's layer behind the gap.
    """

    entering: Tensor
    real: Tensor | None
    behind: Tensor


def find_projection(layer: nn.Module, run: Callable[[], Any]) -> Projection | None:
    """Return the last projection of a layer if what it gives is added to the layer's output as is.

    That is tried: its output is moved at every position, and the layer's must move along. A norm or
    a gate behind it, as in Gemma-2 or in a mixture of experts, makes a layer fail. ``run`` runs the
    decoder on some input, the same in every call.
    """
    called: list[tuple[str, Tensor]] = []

    def note(name: str) -> Callable[..., None]:
        return lambda module, args, out: called.append((name, out))

    projections = {n: m for n, m in layer.named_modules() if _is_projection(m)}
    hooks = [module.register_forward_hook(note(n)) for n, module in projections.items()]
    try:
        before = _leaving(layer, run)
    finally:
        for hook in hooks:
            hook.remove()
    if not called or called[-1][1].shape != before.shape:
        return None
    name = called[-1][0]
    generator = torch.Generator().manual_seed(0)
    moved = torch.randn(before.shape, generator=generator).to(before.device)
    moved *= before.float().norm(dim=-1, keepdim=True) / moved.norm(dim=-1, keepdim=True)
    moved = moved.to(before.dtype)
    hook = projections[name].register_forward_hook(lambda module, args, out: out + moved)
    try:
        shift = (_leaving(layer, run) - before).float()
    finally:
        hook.remove()
    size = moved.float().square().sum(-1)
    factor = float(((shift * moved.float()).sum(-1) / size).mean())
    missed = (shift - factor * moved.float()).square().sum(-1) / size
    found = abs(factor) > _TOLERANCE and float(missed.max()) < _TOLERANCE**2
    return Projection(name, round(factor, 3)) if found else None


def fit_projection(
    span: Span, projection: Projection, batches: Iterable[GapStates], n_positions: int
) -> Tensor:
    """Return the weight of the last projection before the gap that hands on the teacher's state.

    Sums of float64, [columns, columns + d], are all that is kept of a batch. ``span`` has the
    student's layers from the first trainable one to the gap, in float32; batches are read until
    they have ``n_positions``.

    Returns:
        The weight in float32, laid out as the module holds it.
    """
    module: Any = span.layers[-1].get_submodule(projection.name)
    n_seen, gram, cross = 0, torch.zeros(()), torch.zeros(())
    for batch in batches:
        interruption.check()
        state, inner = _run(span, module, batch)
        scale = batch.behind.double().norm(dim=1, keepdim=True).clamp_min(1e-12)
        inner = inner.double() / scale
        missing = (batch.behind.double() - state.double()) / (projection.factor * scale)
        gram, cross = inner.T @ inner + gram, inner.T @ missing + cross
        n_seen += len(scale)
        if n_seen >= n_positions:
            break
    if not n_seen:
        raise ConfigError("There is no window to fit the start of a student to; give more text.")
    gram.diagonal().add_(_RIDGE * gram.diagonal().mean())
    change = torch.cholesky_solve(cross, torch.linalg.cholesky(gram))
    change = change if _is_transposed(module) else change.T
    weight: Tensor = module.weight.detach().double() + change
    return weight.float()


def n_positions_for(span: Span, projection: Projection) -> int:
    """Return how many positions the projection is fitted to."""
    module: Any = span.layers[-1].get_submodule(projection.name)
    n_columns = int(module.weight.shape[0 if _is_transposed(module) else 1])
    return max(_MIN_POSITIONS, _POSITIONS_PER_COLUMN * n_columns)


def unfittable(family: str) -> str:
    """Say that a start cannot be fitted, and what to do."""
    return (
        f"A recipe has the start fitted, but the layers of {family} do not end with a projection "
        "that is added as it is (a norm, a gate or experts stand behind it); set the recipe's "
        "start to copied."
    )


def _run(span: Span, module: nn.Module, batch: GapStates) -> tuple[Tensor, Tensor]:
    """Return o [n, d] and u [n, columns] at the real positions."""
    inner: list[Tensor] = []
    hook = module.register_forward_pre_hook(lambda module, args: inner.append(args[0]))
    try:
        with torch.no_grad():
            state = span.before_norm(batch.entering)
    finally:
        hook.remove()
    flat = state.flatten(0, 1), inner[-1].flatten(0, -2)
    if batch.real is None:
        return flat
    return flat[0].index_select(0, batch.real), flat[1].index_select(0, batch.real)


def _leaving(layer: nn.Module, run: Callable[[], Any]) -> Tensor:
    """Run a decoder and return what left one of its layers."""
    with leaving(layer) as left, torch.no_grad():
        run()
    return left[0]


def _is_projection(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or _is_transposed(module)


def _is_transposed(module: nn.Module) -> bool:
    """Say whether a module is GPT-2's, whose weight is [in, out]."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, Conv1D)
