"""What a model makes of padding: where it changes nothing, and where it must not be used.

*On the right* padding comes after everything a causal model reads, so no state of a token has seen
it: neither attention nor a recurrence or convolution looks ahead. One thing does: frequencies of
RoPE that follow the longest position of the batch (``dynamic``, ``longrope``), beyond the length
the model was first trained on. :func:`even_width` is that length.

*In a gap*, between what was read and what comes next in the cache, padding is masked. That is exact
where every layer keeps the keys of all positions, knows a key's position from ``position_ids``
alone and obeys the mask. It is not where a window counts the padding, where a bias counts places of
the cache, or where a recurrence has read it. :func:`bears_gap` says which, by the classes of the
cache that the model itself fills, and then by trying the widest gap.
"""

import inspect
import math
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

_READ = 8
_LEAST_GAP = 24
# Of one layer type that counts the padding the error is near 1, of rounding it is far below these.
_ROUNDING = {4: 1e-3, 2: 0.05}


@dataclass
class _Known:
    """Widths that were tried: what holds for one holds for smaller, what fails fails for larger."""

    exact: int = 0
    wrong: float = math.inf


_known: "WeakKeyDictionary[Any, _Known]" = WeakKeyDictionary()


def even_width(model: Any) -> float:
    """Return up to how many positions the states of a row never depend on its batch's longest.

    Infinite for most models. transformers recomputes the frequencies of ``dynamic`` RoPE and
    chooses those of ``longrope`` for a whole batch, by its largest position.
    """
    limits = [math.inf]
    for module in model.modules():
        kinds = getattr(module, "rope_type", None)
        for kind in kinds.values() if isinstance(kinds, dict) else [kinds]:
            if isinstance(kind, str) and ("dynamic" in kind or kind == "longrope"):
                limits += _original_lengths(module)
    return min(limits)


def bears_gap(model: Any, width: int) -> bool:
    """Say whether masked padding between a row and its continuation changes nothing but roundings.

    Asked of what transformers itself gives: the cache must be a plain ``DynamicCache`` whose layers
    keep the keys of every position, or of a sliding window that is no shorter than ``width``. A
    layer of any other class, known or not, is taken to count padding. Then a short row is continued
    across a gap as wide as asked, and once more without any: both states must agree, or something
    that no class tells of counts places (the local layers of GPT-Neo, the biases of MPT).

    Below 32 positions the gap would be too short to tell; the answer is no. ``width`` is the most
    positions of a row, padding and everything generated included.
    """
    known = _known.setdefault(model, _Known())
    if width >= _READ + _LEAST_GAP and known.exact < width < known.wrong:
        if width <= even_width(model) and _is_exact(model, width):
            known.exact = width
        else:
            known.wrong = width
    return width <= known.exact


@torch.inference_mode()
def keeps_rows_apart(model: Any) -> bool:
    """Say whether rows of one length may be continued together.

    Where the family keeps what it has read in a cache of transformers' own, whose first dimension
    is the row. States of another kind (RWKV, XLNet) are only trusted for a row alone.
    """
    from transformers.cache_utils import Cache

    ids = torch.ones(1, 2, dtype=torch.int64, device=model.get_input_embeddings().weight.device)
    return isinstance(getattr(model(input_ids=ids), "past_key_values", None), Cache)


def _original_lengths(module: Any) -> list[float]:
    """Return the lengths from which a rotary embedding changes its frequencies; 0 if unknown."""
    rope = getattr(getattr(module, "config", None), "rope_parameters", None) or {}
    stated = [
        part.get("original_max_position_embeddings")
        for part in (rope, *rope.values())
        if isinstance(part, dict)
    ]
    lengths = [getattr(module, "original_max_seq_len", None), *stated]
    return [float(length) for length in lengths if length] or [0.0]


@torch.inference_mode()
def _is_exact(model: Any, width: int) -> bool:
    body = model.base_model
    taken = inspect.signature(body.forward).parameters
    if not {"attention_mask", "position_ids", "past_key_values"} <= taken.keys():
        return False
    n_rows = model.get_input_embeddings().weight.shape[0]
    device = model.get_input_embeddings().weight.device
    row = (1 + torch.arange(_READ + 1, device=device)).remainder(n_rows)[None]
    padded = row.new_zeros(1, width - 1)
    padded[:, :_READ] = row[:, :_READ]
    alone = _continued(body, row[:, :_READ], row[:, _READ:], width)
    across = _continued(body, padded, row[:, _READ:], width)
    if alone is None or across is None:
        return False
    error = float((across - alone).norm() / alone.norm())
    return error < _ROUNDING[model.get_input_embeddings().weight.element_size()]


def _continued(body: Any, ids: Tensor, token: Tensor, width: int) -> Tensor | None:
    """Return the state of a token after the first places of ``ids``; the others are a gap."""
    read = body(input_ids=ids, use_cache=True)
    cache = getattr(read, "past_key_values", None)
    if not _keeps_all(cache, width):
        return None
    visible = torch.ones(1, ids.shape[1] + 1, dtype=torch.long, device=ids.device)
    visible[:, _READ:-1] = 0
    places = torch.full_like(token, _READ)
    read = body(
        input_ids=token,
        attention_mask=visible,
        position_ids=places,
        past_key_values=cache,
        use_cache=True,
    )
    states = getattr(read, "last_hidden_state", None)
    return None if states is None else states[0, -1].float()


def _keeps_all(cache: Any, width: int) -> bool:
    """Say whether every layer of a cache keeps the keys of all of ``width`` positions."""
    from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

    if type(cache) is not DynamicCache:
        return False
    return all(
        type(layer) is DynamicLayer
        or (type(layer) is DynamicSlidingWindowLayer and layer.sliding_window >= width)
        for layer in cache.layers
    )
