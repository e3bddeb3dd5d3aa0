"""The proof that a student computes what its teacher does, before anything is made for it.

A layer's weights alone do not say what it computes: whether it knows positions, how far it looks
and how it scales can depend on its number. So teacher and student run on one short input, layer by
layer: each of the student's layers is given the state that enters the teacher's, and whatever else
the student's own forward passes it, and must return the same. Windows are made narrower than the
input, so that it tells layers with a window from those without. Both models share the teacher's
weights, so nothing is copied but the layers of a tail.
"""

import copy
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dskd_core.decoder.decoder import Decoder, decoder_layers, quiet_transformers
from dskd_core.decoder.faults import CONFIG_FAULTS
from dskd_core.errors import ConfigError
from dskd_core.training.student.layer_settings import config_of_layers
from dskd_core.training.student.tail import Span

_LENGTH = 24
_NARROW = 5
_WINDOWS = re.compile(r"window|chunk|index_topk")


def check_layers(teacher: Decoder, layers: Sequence[int], entry: int, shared: int) -> None:
    """Check that a student of some of the teacher's layers computes in each what the teacher does.

    Costs two forwards of a few tokens, and a copy of the layers from ``shared`` on.

    Args:
        teacher: as loaded; it stays as it is.
        layers: the teacher's layer behind each of the student's, ascending.
        entry: the student's first trainable layer.
        shared: the student's first layer that is not run as part of the teacher.

    Raises:
        ConfigError: naming the layers that would compute something else, or the reason why such a
            student cannot be built.
    """
    ids = torch.randint(
        teacher.n_tokens, (1, _LENGTH), generator=torch.Generator().manual_seed(0)
    ).to(teacher.device)
    whole = _twin_of(teacher, teacher.model.config, teacher.model.state_dict(), ids)
    try:
        weights = weights_of_layers(teacher.model, layers)
        config = stored(config_of_layers(teacher.model.config, layers))
        student = _twin(teacher, config, weights, narrow=whole[1])
        compared = _compared(whole[0], student, layers, ids)
        spans = _spans(student, entry, shared, ids)
    except torch.OutOfMemoryError:
        raise
    except CONFIG_FAULTS as error:
        if isinstance(error, ConfigError):
            raise
        said = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"No {type(teacher.model).__name__} can be made of layers {list(layers)} of "
            f"{_name(teacher)} ({type(error).__name__}: {said}): its layers are not alike, and its "
            f"configuration cannot say so of these; {_cure(layers)}"
        ) from error
    found = [
        f"layer {number} differs from the teacher's layer {layers[number]} by {difference:.3g}"
        for number, difference in compared.items()
    ] + spans
    if found:
        raise ConfigError(
            f"A student of layers {list(layers)} of {_name(teacher)} would not compute what its "
            f"teacher does: {', '.join(found)}; {_cure(layers)}"
        )


def _cure(layers: Sequence[int]) -> str:
    others = "a list whose layers are of one kind"
    if list(layers) != list(range(len(layers))):
        others = f"first, or {others}"
    return f"choose other layers (student.layers: {others}), or another teacher."


def _name(teacher: Decoder) -> str:
    return getattr(teacher.model, "name_or_path", "") or type(teacher.model).__name__


def weights_of_layers(model: Any, layers: Sequence[int]) -> dict[str, Tensor]:
    """Return the state dict of a model with some of its layers, which share its memory."""
    prefix = layers_prefix(model)
    place = {layer: number for number, layer in enumerate(layers)}
    weights = {}
    for name, value in model.state_dict().items():
        if not name.startswith(prefix):
            weights[name] = value
            continue
        number, rest = name.removeprefix(prefix).split(".", 1)
        if int(number) in place:
            weights[f"{prefix}{place[int(number)]}.{rest}"] = value
    return weights


def layers_prefix(model: Any) -> str:
    """Return what the names of tensors of decoder layers begin with: ``model.layers.``."""
    layers = decoder_layers(model)
    return next(f"{name}." for name, module in model.named_modules() if module is layers)


def stored(config: Any) -> Any:
    """Return a configuration as it is once it was written and read."""
    return type(config).from_dict(config.to_dict())


def _twin_of(
    teacher: Decoder, config: Any, weights: dict[str, Tensor], ids: Tensor
) -> tuple[Decoder, bool]:
    """Make the teacher's twin with narrow windows, if such a model runs; else with its own."""
    try:
        twin = _twin(teacher, config, weights, narrow=True)
        with torch.no_grad():
            twin.states(ids)
    except torch.OutOfMemoryError:
        raise
    except CONFIG_FAULTS:
        return _twin(teacher, config, weights, narrow=False), False
    return twin, True


def _twin(teacher: Decoder, config: Any, weights: dict[str, Tensor], *, narrow: bool) -> Decoder:
    """Make a model of the teacher's class that shares its weights."""
    from accelerate import init_empty_weights

    config = _narrowed(config) if narrow else copy.deepcopy(config)
    with quiet_transformers(), init_empty_weights(include_buffers=False):
        model = type(teacher.model)._from_config(
            config,
            dtype=next(iter(teacher.model.parameters())).dtype,
            attn_implementation=teacher.model.config._attn_implementation,
        )
    model.load_state_dict(weights, assign=True)
    model.tie_weights()
    return Decoder(model.to(teacher.device).eval().requires_grad_(False), teacher.n_tokens)


def _narrowed(config: Any) -> Any:
    narrow = copy.deepcopy(config)
    for name, value in vars(config).items():
        if _WINDOWS.search(name) and type(value) is int and value > _NARROW and "layer" not in name:
            setattr(narrow, name, _NARROW)
    return narrow


@torch.no_grad()
def _compared(
    teacher: Decoder, student: Decoder, layers: Sequence[int], ids: Tensor
) -> dict[int, float]:
    """Return by how much the student's layers differ, of those that do."""
    entered, left = _run(teacher, ids, {})
    _, again = _run(teacher, ids, entered)
    _, mine = _run(student, ids, {n: entered[layer] for n, layer in enumerate(layers)})
    differing = {}
    for number, layer in enumerate(layers):
        noise = _difference(again[layer], left[layer])  # 0 where a device is deterministic
        if (difference := _difference(mine[number], left[layer])) > 2 * noise:
            differing[number] = difference
    return differing


def _difference(a: Tensor, b: Tensor) -> float:
    if a.shape != b.shape:
        return float("inf")
    return float((a.double() - b.double()).abs().nan_to_num(0.0, posinf=0.0).max())


def _run(
    model: Decoder, ids: Tensor, given: dict[int, Tensor]
) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Run a model and return what entered and left its layers.

    ``given`` has, of layers, the state that enters each instead of what the layer before it
    returned.
    """
    entered: dict[int, Tensor] = {}
    left: dict[int, Tensor] = {}
    with ExitStack() as stack:
        for number, layer in enumerate(model.layers):
            stack.enter_context(_watching(layer, number, given, entered, left))
        model.states(ids)
    if absent := set(range(len(model.layers))) - left.keys():
        raise ConfigError(
            f"{type(model.model).__name__} does not run layers {sorted(absent)} as modules, so "
            "it is no plain stack of decoder layers; use another teacher."
        )
    return entered, left


@contextmanager
def _watching(
    layer: nn.Module,
    number: int,
    given: dict[int, Tensor],
    entered: dict[int, Tensor],
    left: dict[int, Tensor],
) -> Iterator[None]:
    def before(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if number in entered:
            raise ConfigError(
                f"The teacher runs its layer {number} more than once, so it is no plain stack of "
                "decoder layers; use another teacher."
            )
        state = args[0] if args else kwargs["hidden_states"]
        entered[number] = given.get(number, state).clone()
        state = entered[number].clone()
        return ((state, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": state})

    def after(module: nn.Module, args: Any, out: Any) -> None:
        left[number] = (out[0] if isinstance(out, tuple) else out).clone()

    first = layer.register_forward_pre_hook(before, with_kwargs=True)
    last = layer.register_forward_hook(after)
    try:
        yield
    finally:
        first.remove()
        last.remove()


@torch.no_grad()
def _spans(student: Decoder, entry: int, shared: int, ids: Tensor) -> list[str]:
    """Say which of the student's layers differ where they are run by themselves."""
    entered, _ = _run(student, ids, {})
    found = []
    tail = Span(student, entry, len(student.layers))(entered[entry])
    if not _near(tail, student.states(ids)):
        found.append(f"layers {entry} to {len(student.layers) - 1} run by themselves differ")
    if shared < entry:
        middle = Span(student, shared, entry).before_norm(entered[shared])
        if not _near(middle, entered[entry]):
            found.append(f"layers {shared} to {entry - 1} run by themselves differ")
    return found


def _near(a: Tensor, b: Tensor) -> bool:
    """Say whether two states are the same but for the rounding of copies at other addresses."""
    rounding = 4 * torch.finfo(a.dtype).eps
    scale = float(b.float().square().mean().sqrt())
    return torch.allclose(a, b, rtol=rounding, atol=rounding * scale, equal_nan=True)
