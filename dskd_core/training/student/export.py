"""A student as a transformers checkpoint: written before and after training, and read again."""

import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from dskd_core.decoder.decoder import (
    Decoder,
    decoder_layers,
    empty_model,
    quiet_transformers,
)
from dskd_core.decoder.loading import load_model, weight_faults_told
from dskd_core.decoder.model_files import CONFIG, model_view, weight_files
from dskd_core.training.student.layer_settings import config_of_layers
from dskd_core.training.student.proof import layers_prefix, stored, weights_of_layers
from dskd_core.training.student.tail import NORM, final_norm

_FINAL_NORM = re.compile(r"^(\w+\.)?(norm|ln_f|final_\w*norm)\.(\w+)$")
_LAYER_NAME = re.compile(r"(^|\.)(layers|h|blocks)\.(\d+)\.")


def write_untrained(teacher: Decoder, layers: Sequence[int], folder: Path) -> int:
    """Write the teacher's chosen layers as a checkpoint; return its number of parameters."""
    weights = weights_of_layers(teacher.model, layers)
    config = stored(config_of_layers(teacher.model.config, layers))
    return _save(config, weights, getattr(teacher.model, "generation_config", None), folder)


def export(student: Decoder, entry: int, trained: dict[str, Tensor], folder: Path) -> int:
    """Write a trained student as a plain transformers checkpoint; return its parameters.

    ``trained`` are :meth:`Tail.weights`, ``0.`` being the first trainable layer; the student stays
    as it is.
    """
    model = student.model
    weights = model.state_dict()
    dtype = next(iter(model.parameters())).dtype
    prefix = layers_prefix(model)
    for name, value in trained.items():
        number, rest = name.split(".", 1)
        place = _norm_prefix(model) if number == NORM else f"{prefix}{int(number) + entry}."
        weights[place + rest] = value.detach().to(dtype)
    return _save(model.config, weights, getattr(model, "generation_config", None), folder)


def read_layers(
    folder: Path, *, first: int, frozen: Collection[int] = (), norm: bool = False
) -> dict[str, Tensor]:
    """Read the decoder layers from ``first`` on out of a transformers checkpoint.

    Names on disk are those in memory for most families, and only these layers are read. Others are
    stored otherwise than they are held (every expert by itself, Mixtral's under other names too):
    there transformers reads the whole model and puts them together. ``first`` comes back as layer
    0; ``frozen`` ones are left out, and the final norm comes if ``norm``.

    Returns:
        State dict of a list of layers (``0.mlp.up_proj.weight``), by their names in memory; of the
        norm, ``norm.weight``.

    Raises:
        ArtifactError: if tensors are missing or damaged, or transformers makes no model of the
            ``config.json``.
    """
    from transformers import AutoConfig
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    files = weight_files(folder)
    with (
        weight_faults_told(folder),
        quiet_transformers(),
        model_view(folder, weights=True, code=None) as view,
    ):
        if json.loads((view / CONFIG).read_text("utf-8")).get("model_type") not in CONFIG_MAPPING:
            names = _numbered(files, first, norm)  # a family with code of its own
            return _read(files, _wanted(names, first, frozen))
        config = AutoConfig.from_pretrained(
            str(view), local_files_only=True, trust_remote_code=False
        )
        empty = empty_model(config, config.dtype)
        names = _layer_names(empty, first)
        if norm:
            at = _norm_prefix(empty)
            own = [name for name in empty.state_dict() if name.startswith(at)]
            names |= {name: f"{NORM}.{name.removeprefix(at)}" for name in own}
        names = _wanted(names, first, frozen)
        stored = {key for path in files for key in _keys(path)}
        if names.keys() <= stored and not get_model_conversion_mapping(empty, add_legacy=False):
            return _read(files, names)
        weights = load_model(view, folder, dtype=config.dtype or torch.float32).state_dict()
        return {new: weights[name] for name, new in names.items()}


def _layer_names(model: Any, first: int) -> dict[str, str]:
    """Return for a model's names of tensors in its layers from ``first`` on those in a list."""
    layers = decoder_layers(model)
    prefix = layers_prefix(model)
    return {f"{prefix}{first + int(n)}.{rest}": name for name, n, rest in _split(layers[first:])}


def _wanted(names: dict[str, str], first: int, frozen: Collection[int]) -> dict[str, str]:
    numbers = {str(number - first) for number in frozen}
    return {name: new for name, new in names.items() if new.split(".", 1)[0] not in numbers}


def _norm_prefix(model: Any) -> str:
    """Return what the names of tensors of the final norm begin with: ``model.norm.``."""
    norm = model.base_model._modules[final_norm(model.base_model)]
    return next(f"{name}." for name, module in model.named_modules() if module is norm)


def _split(layers: Any) -> list[tuple[str, str, str]]:
    return [(name, *name.split(".", 1)) for name in layers.state_dict()]


def _keys(path: Path) -> list[str]:
    with safe_open(path, framework="pt") as file:
        return list(file.keys())


def _read(files: list[Path], names: dict[str, str]) -> dict[str, Tensor]:
    found = {}
    for path in files:
        here = names.keys() & _keys(path)
        with safe_open(path, framework="pt") as file:
            for key in sorted(here):
                found[names[key]] = file.get_tensor(key)
    return found


def _numbered(files: list[Path], first: int, norm: bool) -> dict[str, str]:
    names = {}
    for key in (key for path in files for key in _keys(path)):
        match = _LAYER_NAME.search(key)
        if match and int(match[3]) >= first:
            names[key] = f"{int(match[3]) - first}.{key[match.end() :]}"
        elif norm and (match := _FINAL_NORM.search(key)):
            names[key] = f"{NORM}.{match[3]}"
    return names


def _save(config: Any, weights: dict[str, Tensor], generation: Any, folder: Path) -> int:
    """Write weights through a model that holds no memory of its own."""
    model = empty_model(config, next(iter(weights.values())).dtype)
    model.to_empty(device="cpu")
    model.load_state_dict(weights, assign=True)
    model.tie_weights()
    if generation is not None:
        model.generation_config = generation
    with quiet_transformers():
        model.save_pretrained(folder)
    return int(model.num_parameters())
