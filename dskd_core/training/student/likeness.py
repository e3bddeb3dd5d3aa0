"""Which of a student's layers are of another kind than the teacher's, by their settings alone.

A plan has no weights, so proof.py cannot run. But transformers builds both models without memory
for any, and then a layer can be compared with the one it is copied from: its parts, their shapes
and settings. What a forward makes of a layer's number is not seen by that.
"""

import copy
import re
from collections.abc import Sequence
from typing import Any

from dskd_core.decoder.decoder import decoder_layers, empty_model
from dskd_core.decoder.faults import CONFIG_FAULTS
from dskd_core.errors import ConfigError
from dskd_core.training.student.layer_settings import config_of_layers
from dskd_core.training.student.proof import stored

_PLAIN = (bool, int, float, str, type(None))
_NUMBER = re.compile(r"(layer|block)_?(idx|id|index|number|num)$|^(idx|index)$")
_BY_DEPTH = "layer_idx"  # in the name of a setting: scale_attn_by_inverse_layer_idx


def why_refused(config: Any, layers: Sequence[int]) -> str:
    """Say why a student of some layers would be refused, as far as settings tell; "" if not.

    >>> from transformers import GPT2Config
    >>> config = GPT2Config(n_layer=4, n_head=2, n_embd=4, scale_attn_by_inverse_layer_idx=True)
    >>> why_refused(config, (0, 1)), why_refused(config, (0, 3))
    ('', "layer 1 depends on its number, and is the teacher's layer 3")
    """
    try:
        teacher = decoder_layers(empty_model(copy.deepcopy(config)))
        student = decoder_layers(empty_model(stored(config_of_layers(config, layers))))
    except CONFIG_FAULTS as error:
        if isinstance(error, ConfigError):
            return ""  # no plain stack, which is refused before
        said = " ".join(str(error).split())[:100]
        return f"its configuration cannot say so of these layers ({type(error).__name__}: {said})"
    flags = {name for name, value in vars(config).items() if _BY_DEPTH in name and value is True}
    found = []
    for number, layer in enumerate(layers):
        if flags and number != layer:
            found.append(
                f"layer {number} depends on its number, and is the teacher's layer {layer}"
            )
        elif _settings(student[number]) != _settings(teacher[layer]):
            found.append(f"layer {number} is of another kind than the teacher's layer {layer}")
    return ", ".join(found)


def _settings(layer: Any) -> dict[str, Any]:
    """Return what a layer is made of: shapes, kinds of its parts, and their plain settings."""
    found: dict[str, Any] = {name: tuple(p.shape) for name, p in layer.named_parameters()}
    for name, part in layer.named_modules():
        found[f"{name}:"] = type(part).__name__
        found |= {
            f"{name}:{setting}": value
            for setting, value in vars(part).items()
            if isinstance(value, _PLAIN) and not _NUMBER.search(setting)
        }
    return found
