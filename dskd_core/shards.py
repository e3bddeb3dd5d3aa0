"""Shards: contiguous runs of items, cut by weight, named so that a retry finds its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Shard:
    """Items ``start`` to ``stop`` (exclusive), the ``index``-th of ``n_shards``."""

    index: int
    n_shards: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """A name that sorts by index.

        >>> Shard(2, 11, 40, 60).name
        '02-of-11'
        """
        width = len(str(self.n_shards))
        return f"{self.index:0{width}d}-of-{self.n_shards}"


def cut(weights: Sequence[int] | np.ndarray, max_weight: int) -> list[Shard]:
    """Cut items into contiguous shards of at most ``max_weight`` each.

    An item heavier than ``max_weight`` gets a shard of its own. The cut depends on the weights
    alone, so every process makes the same one.

    >>> [(s.start, s.stop) for s in cut([4, 4, 4, 9, 1], 8)]
    [(0, 2), (2, 3), (3, 4), (4, 5)]
    """
    bounds, load = [0], 0
    for item, weight in enumerate(weights):
        if load and load + int(weight) > max_weight:
            bounds.append(item)
            load = 0
        load += int(weight)
    if len(weights):
        bounds.append(len(weights))
    n_shards = len(bounds) - 1
    return [Shard(i, n_shards, bounds[i], bounds[i + 1]) for i in range(n_shards)]
