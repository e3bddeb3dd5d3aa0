"""The teacher's sizes, read from its configuration alone: no weights are touched."""

import json
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dskd_core import samples
from dskd_core.config import TeacherConfig
from dskd_core.decoder.gguf_header import read_header
from dskd_core.decoder.model_files import inside
from dskd_core.errors import ConfigError
from dskd_core.store import access

_HUB_SECONDS = 5
_FILE = "config.json"
_UNGATED = ("gpt2", "gpt_neox", "gptj", "opt", "phi", "bloom", "falcon", "starcoder2")
"""Model types whose feed-forward block has two matrices and not three."""


@dataclass(frozen=True)
class Architecture:
    """A plain stack of decoder layers with grouped attention.

    Attributes:
        hidden_size: d.
        n_layers: decoder layers.
        n_heads: query heads of a layer.
        n_key_heads: key and value heads of a layer.
        head_size: values of one head.
        intermediate_size: width of the feed-forward block.
        n_vocabulary: rows of the embedding matrix, padding included.
        tied_head: whether the head is the embedding matrix.
        gated: whether the feed-forward block has a gate (three matrices).
        origin: where the sizes come from.
    """

    hidden_size: int
    n_layers: int
    n_heads: int
    n_key_heads: int
    head_size: int
    intermediate_size: int
    n_vocabulary: int
    tied_head: bool
    gated: bool = True
    origin: str = ""

    @property
    def layer_parameters(self) -> int:
        """Weights of one decoder layer; biases, where a model has them, are not counted.

        >>> PUBLISHED["meta-llama/Meta-Llama-3-8B-Instruct"].layer_parameters
        218112000
        """
        attention = 2 * self.hidden_size * self.head_size * (self.n_heads + self.n_key_heads)
        feed_forward = (3 if self.gated else 2) * self.hidden_size * self.intermediate_size
        return attention + feed_forward + 2 * self.hidden_size

    @property
    def head_parameters(self) -> int:
        """Weights of the output matrix W, [V, d]."""
        return self.n_vocabulary * self.hidden_size

    def parameters(self, n_layers: int | None = None) -> int:
        """Return the weights of the model cut to ``n_layers`` (all of them if empty).

        >>> llama = PUBLISHED["meta-llama/Meta-Llama-3-8B-Instruct"]
        >>> llama.parameters(), llama.parameters(16)
        (8030261248, 4540469248)
        """
        n_layers = self.n_layers if n_layers is None else n_layers
        matrices = self.head_parameters * (1 if self.tied_head else 2)
        return n_layers * self.layer_parameters + matrices + self.hidden_size

    def layer_flops(self, context: float) -> float:
        """Return the forward FLOPs of one layer for one token that sees ``context`` others."""
        attention = 4 * self.n_heads * self.head_size * context
        return 2 * (self.layer_parameters - 2 * self.hidden_size) + attention

    @property
    def head_flops(self) -> float:
        """Forward FLOPs of the head for one position: 2 V d."""
        return 2.0 * self.head_parameters


_LLAMA_3_8B = Architecture(4096, 32, 32, 8, 128, 14336, 128_256, tied_head=False)
_MISTRAL_7B = replace(_LLAMA_3_8B, n_vocabulary=32_000)
PUBLISHED = {
    "meta-llama/Meta-Llama-3-8B-Instruct": _LLAMA_3_8B,
    "mistralai/Mistral-7B-Instruct-v0.2": _MISTRAL_7B,
}
"""Sizes of the models our parameter files name, from their published config.json: used only where
the hub does not answer, and the plan then says so."""


def read_architecture(config: TeacherConfig, config_json: Path | None = None) -> Architecture:
    """Return the sizes of a teacher.

    Args:
        config: names the teacher: a folder, a GGUF file, a sample or a hub id.
        config_json: a transformers ``config.json`` to read instead.

    Raises:
        ConfigError: if no configuration can be had, or it lacks a size.
    """
    if config_json is not None:
        return of_values(_read_json(config_json), str(config_json))
    access.check_revision(config.revision)
    path = Path(samples.resolve(config.source))
    if path.is_dir():
        file = path / _FILE
        return of_values(_read_json(inside(file, path) if file.is_symlink() else file), str(file))
    if path.is_file():
        return _of_gguf(path)
    return _from_hub(config)


def of_values(values: Mapping[str, Any], origin: str) -> Architecture:
    """Return the sizes that a transformers configuration states.

    Raises:
        ConfigError: if one is missing; the message names it.
    """
    values = values.get("text_config") or values

    def size(*names: str) -> int:
        for name in names:
            if values.get(name):
                return int(values[name])
        raise ConfigError(
            f"{origin} states no {names[0]}; give another file with --config-json, with "
            "hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, vocab_size."
        )

    hidden_size, n_heads = size("hidden_size", "n_embd"), size("num_attention_heads", "n_head")
    gated = values.get("model_type") not in _UNGATED
    inner = values.get("intermediate_size") or values.get("n_inner")
    if not inner and not gated:
        inner = 4 * hidden_size
    return Architecture(
        hidden_size=hidden_size,
        n_layers=size("num_hidden_layers", "n_layer"),
        n_heads=n_heads,
        n_key_heads=int(values.get("num_key_value_heads") or n_heads),
        head_size=int(values.get("head_dim") or hidden_size // n_heads),
        intermediate_size=int(inner) if inner else size("intermediate_size"),
        n_vocabulary=size("vocab_size"),
        tied_head=bool(values.get("tie_word_embeddings", not gated)),
        gated=gated,
        origin=origin,
    )


def _of_gguf(path: Path) -> Architecture:
    header = read_header(path)
    names = {
        "hidden_size": "embedding_length",
        "num_attention_heads": "attention.head_count",
        "num_key_value_heads": "attention.head_count_kv",
        "head_dim": "attention.key_length",
        "intermediate_size": "feed_forward_length",
        "num_hidden_layers": "block_count",
    }
    values: dict[str, Any] = {ours: header.size(theirs) for ours, theirs in names.items()}
    values["vocab_size"] = header.size("vocab_size") or header.values.get("tokenizer.ggml.tokens")
    # A GGUF file without an output matrix uses its embeddings, which its values do not say.
    values["tie_word_embeddings"] = "output.weight" not in header.tensors
    gated = any(name.endswith("ffn_gate.weight") for name in header.tensors)
    return replace(of_values(values, path.name), gated=gated)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ConfigError(
            f"{path} is no readable config.json ({error}); name one with --config-json."
        ) from error


def _from_hub(config: TeacherConfig) -> Architecture:
    try:
        return of_values(_fetch(config), f"{config.source} on the hub")
    except (OSError, json.JSONDecodeError) as error:
        if config.source in PUBLISHED:
            origin = f"published sizes of {config.source}: the hub did not answer"
            return replace(PUBLISHED[config.source], origin=origin)
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
            return dict(json.loads(Path(cached).read_text("utf-8")))
        url = hf_hub_url(config.source, _FILE, revision=config.revision)
    except HFValidationError as error:
        raise ConfigError(
            f"teacher.source {config.source!r} is no file here and no model id; correct it."
        ) from error
    request = urllib.request.Request(url, headers=build_hf_headers())
    with urllib.request.urlopen(request, timeout=_HUB_SECONDS) as answer:
        return dict(json.load(answer))
