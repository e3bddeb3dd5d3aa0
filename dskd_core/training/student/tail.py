"""Some consecutive layers of a decoder, run from the state that enters the first of them.

Works for any transformers decoder: the model's own forward builds positions and masks, and hooks
replace what it would feed its first layer, or keep what it feeds any other.
"""

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dskd_core.decoder.decoder import Decoder, decoder_layers
from dskd_core.decoder.placement import onto
from dskd_core.decoder.unpacked import one_sequence_a_window
from dskd_core.errors import ConfigError
from dskd_core.training.student.layer_settings import config_of_layers

NORM = "norm"
"""What the final norm is called among what trains, whatever a family calls it."""


class Span(nn.Module):
    """Copies of the layers from ``start`` up to ``stop`` and of the final norm, all frozen.

    They keep their precisions, or are in float32. No other can be asked for: a decoder in bfloat16
    has the frequencies of its rotary positions in float32, and rounded they are other positions.
    """

    def __init__(self, decoder: Decoder, start: int, stop: int, *, float32: bool = False) -> None:
        super().__init__()
        body = copy.copy(decoder.model.base_model)
        body._modules = dict(body._modules)
        n_layers = len(decoder.layers)  # as long as whatever has a module for each of them
        for name, module in body._modules.items():
            if module is None or isinstance(module, nn.Embedding):
                continue
            is_layers = isinstance(module, nn.ModuleList) and len(module) == n_layers
            kept = copy.deepcopy(module[start:stop] if is_layers else module)
            body._modules[name] = kept.float() if float32 else kept
        body.config = config_of_layers(decoder.model.config, range(start, stop))
        self.body = body.eval()
        self.layers = decoder_layers(_Bare(body))
        for number, layer in enumerate(self.layers):
            _renumber(layer, number)
        self.body.requires_grad_(False)

    def forward(self, entering: Tensor) -> Tensor:
        """Return the states after the last layer and the final norm.

        Args:
            entering: [n_windows, length, d], h, right-padded.

        Returns:
            [n_windows, length, d].
        """
        with _entering(self.layers[0], entering), one_sequence_a_window():
            out = self.body(inputs_embeds=entering, use_cache=False)
        return out.last_hidden_state  # type: ignore[no-any-return]

    def before_norm(self, entering: Tensor) -> Tensor:
        """Return the states after the last layer, as the next one would be fed."""
        with leaving(self.layers[-1]) as left:
            self(entering)
        return left[0]


class Tail(Span):
    """The layers from the first trainable one on, and the final norm, in float32.

    What trains are master weights; the rest is frozen.
    """

    def __init__(
        self,
        student: Decoder,
        entry: int,
        *,
        frozen: Collection[int] = (),
        trains_norm: bool = False,
    ) -> None:
        """Copy the layers of a student, and its final norm.

        ``entry`` is layer 0 here, and ``frozen`` ones are numbered so.

        Raises:
            ConfigError: if it is to train and has no weights.
        """
        super().__init__(student, entry, len(student.layers), float32=True)
        self.frozen = frozenset(frozen)
        self.norm_name = final_norm(self.body) if trains_norm else None
        for number, layer in enumerate(self.layers):
            layer.requires_grad_(number not in self.frozen)
        if self.norm_name:
            self.body._modules[self.norm_name].requires_grad_(True)

    def trained(self) -> dict[str, nn.Parameter]:
        """Return what trains by name: of layers ``0.mlp.up_proj.weight``, of the norm ``norm.``."""
        named = {n: p for n, p in self.layers.named_parameters() if p.requires_grad}
        if self.norm_name:
            norm = self.body._modules[self.norm_name]
            named |= {f"{NORM}.{name}": value for name, value in norm.named_parameters()}
        return named

    def weights(self) -> dict[str, Tensor]:
        """Return the tensors of the layers that train, buffers too, and of a norm that does."""
        layers = {
            name: value
            for name, value in self.layers.state_dict().items()
            if int(name.split(".", 1)[0]) not in self.frozen
        }
        if self.norm_name:
            norm = self.body._modules[self.norm_name].state_dict()
            layers |= {f"{NORM}.{name}": value for name, value in norm.items()}
        return layers

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take over tensors by the names of :meth:`weights`; those that lack stay as they are."""
        own = self.weights()
        with torch.no_grad():
            for name, value in weights.items():
                own[name].copy_(value)


def final_norm(body: nn.Module) -> str:
    """Return the name of a decoder's final norm: the last of its own parts that has weights.

    Raises:
        ConfigError: if it has none.
    """
    found = [
        name
        for name, module in body._modules.items()
        if module is not None
        and not isinstance(module, nn.ModuleList | nn.Embedding)
        and any(True for _ in module.parameters())
        and all(parameter.dim() == 1 for parameter in module.parameters())
    ]
    if not found:
        raise ConfigError(
            f"student.train_final_norm true: {type(body).__name__} has no final norm with weights; "
            "set it to false."
        )
    return found[-1]


def padded_entering(windows: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Pad the states that enter the tail in each window, [n, d], for :func:`run_tail`.

    Returns:
        ([n_windows, length, d], where they are; places of the real positions among all
        n_windows * length, int64 on the host, or None where every window has the length).
    """
    lengths = [len(window) for window in windows]
    longest, first = max(lengths), windows[0]
    entering = first.new_zeros(len(windows), longest, first.shape[1])
    for line, window in enumerate(windows):
        entering[line, : len(window)] = window
    if min(lengths) == longest:
        return entering, None
    real = np.flatnonzero(np.arange(longest)[None, :] < np.array(lengths)[:, None])
    return entering, torch.from_numpy(real)


def run_tail(tail: Tail, entering: Tensor, real: Tensor | None, compute_dtype: str) -> Tensor:
    """Return the student's final states at real positions, [n, d] float32.

    Args:
        tail: what runs.
        entering: [n_windows, length, d], h, right-padded.
        real: [n] int64, places of the positions among all n_windows * length; None: they are all.
        compute_dtype: of the products.
    """
    device = next(tail.layers.parameters()).device
    dtype = getattr(torch, compute_dtype)
    with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
        states = tail(onto(entering, device).float())
    # Whole windows need no gather, whose way back would scatter.
    flat: Tensor = states.float().flatten(0, 1)
    return flat if real is None else flat.index_select(0, onto(real, device))


@contextmanager
def capturing(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the hidden state that enters a layer while a model runs."""
    caught: list[Tensor] = []

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        caught.append(args[0] if args else kwargs["hidden_states"])

    handle = layer.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield caught
    finally:
        handle.remove()


@contextmanager
def leaving(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the hidden state that leaves a layer while a model runs."""
    left: list[Tensor] = []

    def hook(module: nn.Module, args: Any, out: Any) -> None:
        left.append(out[0] if isinstance(out, tuple) else out)

    handle = layer.register_forward_hook(hook)
    try:
        yield left
    finally:
        handle.remove()


@contextmanager
def _entering(layer: nn.Module, entering: Tensor) -> Iterator[None]:
    """Replace whatever a model would feed ``layer`` by ``entering``.

    GPT-2 adds position embeddings to what it is given and Gemma scales it; h already has both.
    """

    def hook(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (entering, *args[1:]), kwargs
        return args, kwargs | {"hidden_states": entering}

    handle = layer.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@dataclass(frozen=True)
class _Bare:
    """A body that is its own base model, for :func:`decoder_layers`."""

    base_model: Any


def _renumber(layer: nn.Module, number: int) -> None:
    for module in layer.modules():
        if hasattr(module, "layer_idx"):
            setattr(module, "layer_idx", number)  # noqa: B010
