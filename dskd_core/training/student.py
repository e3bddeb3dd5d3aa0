"""The student: the first layers of the teacher, of which only the last few train.

Teacher and student agree bit for bit up to the first trainable layer. So training runs only the
*tail*: the trainable layers and the final norm, entered with the state h that the teacher had at
that point. What is exported is the whole student, a plain transformers checkpoint.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dskd_core.config import StudentConfig
from dskd_core.embeddings.teacher import Teacher, decoder_layers, quiet_transformers
from dskd_core.errors import ConfigError

_LAYER_LISTS = ("layer_types",)


@dataclass(frozen=True)
class Shape:
    """Layers of the student: the first ``n_layers``, of which ``entry`` and later ones train."""

    n_layers: int
    entry: int

    @classmethod
    def of(cls, config: StudentConfig, n_teacher_layers: int) -> "Shape":
        """Resolve the settings against a teacher.

        Raises:
            ConfigError: if the student would have more layers than the teacher.
        """
        n_layers = config.n_layers or n_teacher_layers // 2
        if not 0 < n_layers <= n_teacher_layers:
            raise ConfigError(
                f"student.n_layers {n_layers} does not fit a teacher of {n_teacher_layers} layers; "
                "choose fewer."
            )
        if config.n_trainable_layers > n_layers:
            raise ConfigError(
                f"student.n_trainable_layers {config.n_trainable_layers} exceeds the student's "
                f"{n_layers} layers; choose fewer."
            )
        return cls(n_layers, n_layers - config.n_trainable_layers)


class Tail(nn.Module):
    """The trainable layers and the final norm, run from the state that enters them.

    Works for any transformers decoder: the model's own forward builds positions and masks, and
    whatever it would feed its first layer is replaced by h.
    """

    def __init__(self, teacher: Teacher, shape: Shape) -> None:
        super().__init__()
        body = copy.copy(teacher.model.base_model)
        body._modules = dict(body._modules)
        for name, module in body._modules.items():
            if isinstance(module, nn.ModuleList):
                kept = list(module)[shape.entry : shape.n_layers]
                body._modules[name] = nn.ModuleList(copy.deepcopy(layer).float() for layer in kept)
            elif module is not None and not isinstance(module, nn.Embedding):
                body._modules[name] = copy.deepcopy(module).float()
        body.config = _config_of_layers(teacher.model.config, shape.entry, shape.n_layers)
        self.body = body.eval()
        self.layers = decoder_layers(_Bare(body))
        for number, layer in enumerate(self.layers):
            _renumber(layer, number)
        self.body.requires_grad_(False)
        self.layers.requires_grad_(True)

    def forward(self, entering: Tensor) -> Tensor:
        """Return the student's final states.

        Args:
            entering: [n_windows, length, d] float32, h, right-padded.

        Returns:
            [n_windows, length, d] float32, n_t (after the final norm).
        """
        with _entering(self.layers[0], entering):
            out = self.body(inputs_embeds=entering, use_cache=False)
        return out.last_hidden_state  # type: ignore[no-any-return]


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


def export(teacher: Teacher, shape: Shape, trained: dict[str, Tensor], folder: Path) -> int:
    """Write the student as a plain transformers checkpoint; return its number of parameters.

    Args:
        teacher: where everything that did not train is copied from.
        shape: the student's layers.
        trained: state dict of the tail's layers, ``0.`` being the first trainable one.
        folder: where ``config.json`` and ``model.safetensors`` go.
    """
    from transformers import AutoModelForCausalLM

    dtype = next(iter(teacher.model.parameters())).dtype
    config = _config_of_layers(teacher.model.config, 0, shape.n_layers)
    with quiet_transformers(), torch.device("meta"):
        student = AutoModelForCausalLM.from_config(config, dtype=dtype)
    student.to_empty(device="cpu")
    weights = {
        name: value
        for name, value in teacher.model.state_dict().items()
        if name in student.state_dict()
    }
    student.load_state_dict(weights, assign=True)
    student.tie_weights()
    # Assigned, not copied into: the student's tensors are the teacher's own until replaced.
    layers = decoder_layers(student)[shape.entry :]
    layers.load_state_dict({name: v.to(dtype) for name, v in trained.items()}, assign=True)
    if getattr(teacher.model, "generation_config", None) is not None:
        student.generation_config = teacher.model.generation_config
    with quiet_transformers():
        student.save_pretrained(folder)
    return int(student.num_parameters())


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


def _config_of_layers(config: Any, start: int, stop: int) -> Any:
    """Return a copy of a transformers config for the layers ``start`` to ``stop``."""
    shorter = copy.deepcopy(config)
    shorter.num_hidden_layers = stop - start
    for name in _LAYER_LISTS:
        if getattr(config, name, None) is not None:
            setattr(shorter, name, list(getattr(config, name))[start:stop])
    return shorter


def _renumber(layer: nn.Module, number: int) -> None:
    for module in layer.modules():
        if hasattr(module, "layer_idx"):
            setattr(module, "layer_idx", number)  # noqa: B010
