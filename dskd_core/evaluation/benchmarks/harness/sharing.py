"""Which items share the first tokens of their requests, and the batches they make.

The choices of one item follow one context, and the items of an MMLU subject follow one header of
exemplars. Items that share a beginning form a group, whose beginning is run once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dskd_core.decoder.batches import plan_batches
from dskd_core.evaluation.benchmarks.layout import ItemBatch, Requests

_MIN_SHARED = 16
"""Tokens that items must share at least to be one group."""
_TOKEN_BYTES = 4


@dataclass
class _Group:
    """Items with ``n_shared`` first tokens in all requests, and ``n_rows`` distinct inputs."""

    items: list[int]
    n_shared: int
    n_rows: int


def plan_shared(requests: Requests, batch_tokens: int, *, share: bool = True) -> list[ItemBatch]:
    """Group items by the beginning they share and cut them into batches.

    In the order of their tokens, an item joins the group before it where that saves tokens:
    n rows that share p tokens save (n - 1) p. Groups of one item are batched by length. The plan
    knows no shards, so that an item meets the same neighbours however the work is cut.

    Args:
        requests: of all items.
        batch_tokens: most tokens of a batch, padding and shared beginnings counted in every row.
        share: whether beginnings are shared at all.
    """
    n_rows = [len({row[:-1].tobytes() for row in rows}) for rows in requests.ids]
    if share:
        groups = _group(requests, n_rows)
    else:
        groups = [_Group([item], 0, n) for item, n in enumerate(n_rows)]
    n_shared = {item: group.n_shared for group in groups for item in group.items}
    single = sorted(group.items[0] for group in groups if len(group.items) == 1)
    several = [group.items for group in groups if len(group.items) > 1]
    weights = requests.lengths * n_rows
    return [
        _batch(batch.tolist(), n_shared, requests)
        for items in (single, *several)
        for batch in plan_batches(weights, np.array(items, dtype=np.int64), batch_tokens)
    ]


def can_share(config: Any, max_tokens: int) -> bool:
    """Say whether all layers attend to all that came before, up to ``max_tokens``.

    Sliding windows and recurrent layers keep no keys and values that rows could share.
    """
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None)
    return kinds <= {"full_attention"} and (window is None or int(window) >= max_tokens)


def _batch(items: list[int], n_shared: dict[int, int], requests: Requests) -> ItemBatch:
    shared = tuple(n_shared[item] for item in items)
    beginnings: set[bytes] = set()
    n_bytes = 0
    for item, n in zip(items, shared, strict=True):
        rows = requests.ids[item]
        beginnings.add(rows[0][:n].tobytes())
        n_bytes += sum(map(len, {row[n:-1].tobytes() for row in rows}))
    n_bytes += sum(map(len, beginnings))
    return ItemBatch(tuple(items), shared, n_bytes // _TOKEN_BYTES)


def _group(requests: Requests, n_rows: list[int]) -> list[_Group]:
    """Return the groups of items; a single row has nothing to share."""
    groups: list[_Group] = []
    for item in sorted(range(len(n_rows)), key=lambda i: requests.ids[i][0].tolist()):
        rows = requests.ids[item]
        own = _Group([item], _n_common(rows, requests.continuations[item]), n_rows[item])
        joined = groups and _join(groups[-1], own, requests)
        if joined:
            groups[-1] = joined
        else:
            groups.append(own)
    for group in groups:
        group.n_shared *= group.n_rows > 1
    return groups


def _join(group: _Group, other: _Group, requests: Requests) -> _Group | None:
    """Return both as one group, or None where that saves no tokens."""
    first, second = (requests.ids[g.items[0]][0] for g in (group, other))
    n_shared = min(group.n_shared, other.n_shared, _common_length(first, second))
    n_rows = group.n_rows + other.n_rows
    saved_apart = (group.n_rows - 1) * group.n_shared + (other.n_rows - 1) * other.n_shared
    if n_shared < _MIN_SHARED or (n_rows - 1) * n_shared <= saved_apart:
        return None
    return _Group(group.items + other.items, n_shared, n_rows)


def _n_common(rows: Sequence[NDArray[np.int32]], continuations: Sequence[int]) -> int:
    """Return how many first tokens an item's requests share, and still leave each one to run."""
    limits = [len(row) - n - 1 for row, n in zip(rows, continuations, strict=True)]
    return max(0, min([*limits, *(_common_length(rows[0], row) for row in rows[1:])]))


def _common_length(one: NDArray[np.int32], other: NDArray[np.int32]) -> int:
    n = min(len(one), len(other))
    differ = np.flatnonzero(one[:n] != other[:n])
    return int(differ[0]) if len(differ) else n
