"""Batches that the device has no memory for are halved, and the work begins again."""

import gc
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from dskd_core.decoder.batches import plan_batches
from dskd_core.errors import CapacityError

T = TypeVar("T")
Batches = Sequence[NDArray[np.int64]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fitted(Generic[T]):
    """What came out, and how large a batch could be.

    Attributes:
        value: the result.
        size: of the largest batch, in the unit of its setting.
        n_halved: how often the device had no memory before that.
    """

    value: T
    size: int
    n_halved: int = 0

    def report(self, name: str) -> dict[str, int]:
        """Return what belongs into the record of a shard; its bytes are addressed without it."""
        return {name: self.size} | ({"n_halved": self.n_halved} if self.n_halved else {})


def until_it_fits(
    attempt: Callable[[int], T], size: int, *, smallest: int, setting: str, cure: str
) -> Fitted[T]:
    """Make an attempt with batches of ``size``, of half of it, and so on down to ``smallest``.

    Args:
        attempt: does all the work, from its start, with batches of at most the given size.
        size: where to begin.
        smallest: below this nothing gets smaller.
        setting: what the size is called in the settings.
        cure: what to lower, if even the smallest does not fit.

    Raises:
        CapacityError: if the smallest does not fit either.
    """
    n_halved = 0
    while True:
        try:
            return Fitted(attempt(size), size, n_halved)
        except torch.OutOfMemoryError as error:
            # The text alone: the exception holds on to the tensors of every frame it came through.
            why = str(error).partition(". ")[0]
        if size <= smallest:
            raise CapacityError(
                f"The device has no memory for the smallest batch, of {setting} {size} ({why}); "
                f"lower {cure}, or use a device with more memory."
            )
        size, n_halved = max(smallest, size // 2), n_halved + 1
        _log.warning("Out of memory (%s): again with %s %d", why, setting, size)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def in_fitting_batches(
    run: Callable[[Batches], T],
    batches: Batches,
    lengths: NDArray[np.int64],
    *,
    setting: str,
    cure: str,
) -> Fitted[T]:
    """Run over batches of windows, or over their halves, down to one window at a time.

    Batches that fit stay as they were planned, for a window's bits may depend on its neighbours
    (see docs/workers.md); the windows keep their order however they are cut.

    Args:
        run: works through all batches it is given.
        batches: window numbers, longest first, as :func:`plan_batches` makes them.
        lengths: tokens of every window.
        setting: what limits a batch.
        cure: what to lower, if one window does not fit.

    Raises:
        CapacityError: if the longest window alone does not fit.
    """
    return until_it_fits(
        lambda size: run([b for batch in batches for b in plan_batches(lengths, batch, size)]),
        max(len(batch) * int(lengths[batch[0]]) for batch in batches),
        smallest=max(int(lengths[batch[0]]) for batch in batches),
        setting=setting,
        cure=cure,
    )
