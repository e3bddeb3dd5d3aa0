"""What a transformers configuration says of single layers, carried over to some of them.

Families say it in three ways: a list with a value a layer (``layer_types``, ``no_rope_layers``), a
list or table of numbers of layers (``mlp_only_layers``), or arithmetic of a layer's number. The
first two are found in whatever list a configuration has. Of arithmetic only what another setting
can say is carried over. Whether the result is right is not decided here: proof.py runs it.
"""

import copy
import re
from collections.abc import Sequence
from typing import Any

_NOT_OF_LAYERS = re.compile(
    r"^_|^architectures$|token_ids?$|^mtp_|multipliers$|_limit$|languages|label"
)
"""Lists that are not about layers, however long they are."""
_FIRST_LAYERS = ("first_k_dense_replace", "num_dense_layers")
"""Settings that count the first layers of another kind."""


def config_of_layers(config: Any, layers: Sequence[int]) -> Any:
    """Return a copy of a transformers config for some of its layers.

    The numbers of layers ascend.
    """
    n_layers, fewer = config.num_hidden_layers, copy.deepcopy(config)
    fewer.num_hidden_layers = len(layers)
    for name, value in vars(config).items():
        if _NOT_OF_LAYERS.search(name):
            continue
        if isinstance(value, list | tuple):
            setattr(fewer, name, _of_layers(value, layers, n_layers))
        elif isinstance(value, dict) and value and all(str(key).isdigit() for key in value):
            by_layer = {int(key): settings for key, settings in value.items()}
            kept = {new: by_layer[layer] for new, layer in enumerate(layers) if layer in by_layer}
            setattr(fewer, name, kept)
    for name in _FIRST_LAYERS:
        if isinstance(count := getattr(config, name, None), int):
            setattr(fewer, name, sum(layer < count for layer in layers))
    _say_sparse_layers(config, fewer, layers)
    if getattr(config, "attention_types", None):  # GPT-Neo's, which its attention_layers repeat
        fewer.attention_types = [[list(fewer.attention_layers), 1]]
    return fewer


def _of_layers(
    value: list[Any] | tuple[Any, ...], layers: Sequence[int], n_layers: int
) -> list[Any] | tuple[Any, ...]:
    """Return a list for some layers: of numbers of layers, of a value a layer, or as it is."""
    kind = type(value)
    if _are_numbers(value, n_layers):
        return kind(new for new, layer in enumerate(layers) if layer in value)
    return kind(value[layer] for layer in layers) if len(value) == n_layers else value


def _are_numbers(value: Sequence[Any], n_layers: int) -> bool:
    """Say whether a list names layers: whole numbers, each once, ascending."""
    if not value or any(type(item) is not int for item in value):
        return False
    return list(value) == sorted(set(value)) and value[0] >= 0 and value[-1] < n_layers


def _say_sparse_layers(config: Any, fewer: Any, layers: Sequence[int]) -> None:
    """Name the dense layers of a family that has experts in every so-many-th layer."""
    step = getattr(config, "decoder_sparse_step", None)
    if not step or not hasattr(config, "mlp_only_layers"):
        return
    dense = config.mlp_only_layers or []
    fewer.decoder_sparse_step = 1
    fewer.mlp_only_layers = [
        new for new, layer in enumerate(layers) if layer in dense or (layer + 1) % step
    ]
