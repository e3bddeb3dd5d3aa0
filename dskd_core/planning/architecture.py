"""The teacher's sizes, counted on the model itself: transformers builds it without memory.

Only its configuration is read, no weights. Of a GGUF file the header lists all tensors.
"""

import os
import re
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import IO, Any

from dskd_core import samples, strict_json
from dskd_core.config import TeacherConfig
from dskd_core.decoder.decoder import decoder_layers, empty_model, quiet_transformers
from dskd_core.decoder.faults import CONFIG_FAULTS, cure_of
from dskd_core.decoder.gguf_header import Header, read_header
from dskd_core.decoder.model_config import checked_config
from dskd_core.decoder.model_files import CONFIG_BYTES, inside
from dskd_core.errors import ConfigError
from dskd_core.store import access

_HUB_SECONDS = 5
_FILE = "config.json"
_LAYERS_ARE = {"num_layers", "layers_block_type"}
"""How families that compute the number of their layers state it."""
_STATED = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "vocab_size",
)
"""Sizes that a configuration states itself; for others the family's defaults stand."""
_EXPERTS = re.compile(r"(^|\.)experts\.|_exps\.")
_N_EXPERTS = ("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts")
_N_CHOSEN = ("num_experts_per_tok", "moe_topk", "moe_k", "top_k_experts", "moe_top_k", "top_k")
_GGUF_LAYER = re.compile(r"blk\.(\d+)\.")


@dataclass(frozen=True)
class Layer:
    """One decoder layer.

    Attributes:
        parameters: its weights, those of all experts among them.
        active: weights of matrices that one token is multiplied with: of experts, the share that
            is chosen for a token.
    """

    parameters: int
    active: float


@dataclass(frozen=True)
class Architecture:
    """A plain stack of decoder layers.

    Attributes:
        hidden_size: d.
        layers: its decoder layers.
        other_parameters: all weights that are in no layer: embeddings, head, final norm.
        head_parameters: weights of the output matrix W, [V, d].
        attention_width: values of all query heads of a layer; 0 where none is known.
        intermediate_size: values of a token in the feed-forward block, of its experts together.
        n_vocabulary: rows of the embedding matrix, padding included.
        origin: where the sizes come from.
        config: of transformers, where they come from one.
    """

    hidden_size: int
    layers: tuple[Layer, ...]
    other_parameters: int
    head_parameters: int
    attention_width: int
    intermediate_size: int
    n_vocabulary: int
    origin: str = ""
    config: Any = field(default=None, compare=False, repr=False)

    @property
    def n_layers(self) -> int:
        """Decoder layers."""
        return len(self.layers)

    def layer_parameters(self, layers: Iterable[int]) -> int:
        """Return the weights of some decoder layers."""
        return sum(self.layers[number].parameters for number in layers)

    def parameters(self, layers: Sequence[int] | None = None) -> int:
        """Return the weights of the model, or of one with some of its layers.

        >>> llama = count(PUBLISHED["meta-llama/Meta-Llama-3-8B-Instruct"], "the hub")
        >>> llama.parameters(), llama.parameters(range(16))
        (8030261248, 4540469248)
        """
        chosen = range(self.n_layers) if layers is None else layers
        return self.other_parameters + self.layer_parameters(chosen)

    def layer_flops(self, layers: Iterable[int], context: float) -> float:
        """Return the forward FLOPs of layers for one token that sees ``context`` others."""
        attention = 4 * self.attention_width * context
        return sum(2 * self.layers[number].active + attention for number in layers)

    @property
    def head_flops(self) -> float:
        """Forward FLOPs of the head for one position: 2 V d."""
        return 2.0 * self.head_parameters


_LLAMA_3_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128_256,
    "tie_word_embeddings": False,
    "bos_token_id": 128_000,
    "eos_token_id": 128_001,
}
_MISTRAL_7B = {"model_type": "mistral", "vocab_size": 32_000, "bos_token_id": 1, "eos_token_id": 2}
PUBLISHED: dict[str, dict[str, Any]] = {
    "meta-llama/Meta-Llama-3-8B-Instruct": _LLAMA_3_8B,
    "mistralai/Mistral-7B-Instruct-v0.2": _LLAMA_3_8B | _MISTRAL_7B,
}
"""The models our parameter files name, from their published config.json: used only where the hub
does not answer, and the plan then says so."""


def read_architecture(config: TeacherConfig, config_json: Path | None = None) -> Architecture:
    """Return the sizes of a teacher.

    The source is a folder, a GGUF file, a sample or a hub id; a ``config_json`` is read instead.

    Raises:
        ConfigError: if no configuration can be had, it lacks a size, or transformers makes no
            plain stack of decoder layers of it.
    """
    if config_json is not None:
        return count(_read_json(config_json), str(config_json))
    access.check_revision(config.revision)
    path = Path(samples.resolve(config.source))
    if path.is_dir():
        file = path / _FILE
        is_there = os.path.lexists(file)  # a pipe, too, would be waited for
        return count(_read_json(inside(file, path) if is_there else file), str(file))
    if path.is_file():
        return _of_gguf(read_header(path), path.name)
    return _from_hub(config)


def count(values: Mapping[str, Any], origin: str) -> Architecture:
    """Return the sizes of the model that transformers makes of a configuration.

    No weights are made.

    Raises:
        ConfigError: if it lacks a size, or transformers cannot make a model of it.
    """
    config = _config_of(checked_config(values, Path(origin), code=None), origin)
    try:
        model = empty_model(config)
    except CONFIG_FAULTS as error:
        raise _makes_no_model(origin, error) from error
    head = model.get_output_embeddings().weight
    chosen, n_experts = _number(config, _N_CHOSEN), _number(config, _N_EXPERTS)
    layers = tuple(
        _layer(
            {name: tuple(value.shape) for name, value in layer.named_parameters()},
            chosen,
            n_experts,
        )
        for layer in decoder_layers(model)
    )
    n_heads = _number(config, ("num_attention_heads",))
    head_size = _number(config, ("head_dim",)) or config.hidden_size // max(1, n_heads)
    total = sum(value.numel() for value in model.parameters())
    return Architecture(
        hidden_size=int(head.shape[1]),
        layers=layers,
        other_parameters=total - sum(layer.parameters for layer in layers),
        head_parameters=head.numel(),
        attention_width=n_heads * head_size,
        intermediate_size=_intermediate(config, chosen),
        n_vocabulary=int(model.get_input_embeddings().weight.shape[0]),
        origin=origin,
        config=config,
    )


def _config_of(values: Mapping[str, Any], origin: str) -> Any:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    family = values.get("model_type")
    if not isinstance(family, str) or family not in CONFIG_MAPPING:
        raise ConfigError(
            f"{origin} has the model_type {family!r}, which this transformers does not know, so "
            "its sizes cannot be counted; give another file with --config-json."
        )
    kind = CONFIG_MAPPING[family]
    stated = dict(values) | dict(values.get("text_config") or {})
    for name in _STATED:
        names = {name, *(alias for alias, own in kind.attribute_map.items() if own == name)}
        names |= {kind.attribute_map[name]} if name in kind.attribute_map else set()
        names |= _LAYERS_ARE if name == "num_hidden_layers" else set()
        if names & vars(kind).keys() and not any(stated.get(each) for each in names):
            raise ConfigError(
                f"{origin} states no {name}; give another file with --config-json, with "
                f"{', '.join(_STATED)}."
            )
    try:
        with quiet_transformers():
            return kind.from_dict(dict(values))
    except CONFIG_FAULTS as error:
        raise _makes_no_model(origin, error) from error


def _makes_no_model(origin: str, error: Exception) -> ConfigError:
    said = " ".join(str(error).split())[:200]
    cure = cure_of(error, "correct it", without_package="install that package")
    return ConfigError(
        f"transformers makes no causal language model of {origin} ({said}); {cure}, or give "
        "another file with --config-json."
    )


def _number(config: Any, names: Iterable[str]) -> int:
    """Return the first whole number that a configuration has under some names; 0 if none."""
    found = (_value(config, name) for name in names)
    return next((value for value in found if isinstance(value, int) and value > 0), 0)


def _value(config: Any, name: str) -> Any:
    """Return what a configuration has under a name; the largest where layers have one each."""
    try:
        return getattr(config, name, None)
    except Exception:  # transformers': of a family whose layers differ, it names none for all
        each = [getattr(layer, name, None) for layer in config.per_layer_config]
        return max((value for value in each if isinstance(value, int)), default=None)


def _intermediate(config: Any, chosen: int) -> int:
    """Return the values of a token within the feed-forward block; 4 d where nothing is said."""
    inner = _value(config, "intermediate_size") or _value(config, "n_inner")
    inner = max(inner) if isinstance(inner, list | tuple) else inner
    of_expert = _number(config, ("moe_intermediate_size",)) or inner
    if not isinstance(inner, int) or not isinstance(of_expert, int):
        return 4 * int(config.hidden_size)
    return max(inner, chosen * of_expert)


def _layer(shapes: Mapping[str, tuple[int, ...]], chosen: int, n_experts: int) -> Layer:
    """Count a layer by the shapes of its tensors.

    Args:
        shapes: by name; experts are one tensor [n_experts, ...], or a tensor each.
        chosen: experts a token is sent to.
        n_experts: experts of a layer; a token goes to all where either is 0.
    """
    share = chosen / n_experts if chosen and n_experts else 1.0
    active = 0.0
    for name, shape in shapes.items():
        if len(shape) < 2:
            continue  # norms and biases
        is_expert = _EXPERTS.search(name) or (len(shape) == 3 and shape[0] == n_experts)
        active += prod(shape) * (share if is_expert else 1.0)
    return Layer(sum(map(prod, shapes.values())), active)


def _of_gguf(header: Header, origin: str) -> Architecture:
    """Return the sizes of a GGUF file, whose header lists every tensor.

    Raises:
        ConfigError: if it lacks one of them.
    """

    def size(name: str) -> int:
        if found := header.size(name):
            return found
        raise ConfigError(
            f"{origin} states no {name}; give the teacher's config.json with --config-json."
        )

    chosen, n_experts = header.size("expert_used_count") or 0, header.size("expert_count") or 0
    shapes: list[dict[str, tuple[int, ...]]] = [{} for _ in range(size("block_count"))]
    other = {}
    for name, shape in header.tensors.items():
        match = _GGUF_LAYER.match(name)
        if match and int(match[1]) < len(shapes):
            shapes[int(match[1])][name] = shape
        elif name != "rope_freqs.weight":
            other[name] = shape
    # A file without an output matrix uses its embeddings.
    head = other.get("output.weight") or other.get("token_embd.weight")
    if not head:
        raise ConfigError(
            f"{origin} has no token_embd.weight; give the teacher's config.json with --config-json."
        )
    d, n_heads = size("embedding_length"), size("attention.head_count")
    inner = header.size("feed_forward_length") or 4 * d
    expert = header.size("expert_feed_forward_length") or inner
    return Architecture(
        hidden_size=d,
        layers=tuple(_layer(each, chosen, n_experts) for each in shapes),
        other_parameters=sum(map(prod, other.values())),
        head_parameters=prod(head),
        attention_width=n_heads * (header.size("attention.key_length") or d // n_heads),
        intermediate_size=max(inner, chosen * expert),
        n_vocabulary=int(other.get("token_embd.weight", head)[-1]),
        origin=origin,
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return _config_in(file)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ConfigError(
            f"{path} is no readable config.json ({error}); name one with --config-json."
        ) from error


def _config_in(file: IO[bytes]) -> dict[str, Any]:
    """Return what a config.json says; a file of holes, or what a server sends, has no end."""
    data = file.read(CONFIG_BYTES + 1)
    if len(data) > CONFIG_BYTES:
        raise ValueError(f"it has more than the {CONFIG_BYTES:,} bytes of any such file")
    return dict(strict_json.loads(data))


def _from_hub(config: TeacherConfig) -> Architecture:
    try:
        return count(_fetch(config), f"{config.source} on the hub")
    except ConfigError:
        raise
    except (OSError, ValueError, TypeError, RecursionError) as error:
        if config.source in PUBLISHED:
            origin = f"published sizes of {config.source}: the hub did not answer"
            return replace(count(PUBLISHED[config.source], config.source), origin=origin)
        raise ConfigError(
            f"The sizes of teacher.source {config.source!r} cannot be read: it is no file here and "
            f"the hub did not answer ({error}); give its config.json with --config-json."
        ) from error


def _fetch(config: TeacherConfig) -> dict[str, Any]:
    """Read config.json from the hub's cache, or ask the hub once: a plan does not wait for long."""
    from huggingface_hub import hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    try:
        cached = try_to_load_from_cache(config.source, _FILE, revision=config.revision)
        if isinstance(cached, str):
            with Path(cached).open("rb") as file:
                return _config_in(file)
        url = hf_hub_url(config.source, _FILE, revision=config.revision)
    except HFValidationError as error:
        raise ConfigError(
            f"teacher.source {config.source!r} is no file here and no model id; correct it."
        ) from error
    request = urllib.request.Request(url, headers=build_hf_headers())
    with urllib.request.urlopen(request, timeout=_HUB_SECONDS) as answer:
        return _config_in(answer)
