"""Batches that the device has no memory for are halved, and the work begins again."""

import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from dskd_core.decoder.batches import plan_batches
from dskd_core.errors import CapacityError

Batches = Sequence[NDArray[np.int64]]
Made = TypeVar("Made")

_log = logging.getLogger(__name__)


_SAID = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
"""How libraries that take memory beside torch's allocator say that there is none."""


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether a device had no memory, whoever asked it for some.

    >>> is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling ..."))
    True
    >>> is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))
    False
    """
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _SAID)


@contextmanager
def needing_memory(what: str, cure: str) -> Iterator[None]:
    """Name what a device has no memory for, where nothing can be made smaller on the way.

    ``cure`` says what to change, as the second half of a sentence.

    Raises:
        CapacityError: if it has none.
    """
    try:
        yield
        return
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        why = _sentence(error)
    raise CapacityError(
        f"The device has no memory for {what} ({why}); {cure}, or use a device with more memory."
    )


def _sentence(error: BaseException) -> str:
    return str(error).partition("\n")[0].partition(". ")[0]


def until_it_fits(
    work: Callable[[int], Made], size: int, *, smallest: int, name: str, setting: str, cure: str
) -> tuple[Made, dict[str, int]]:
    """Return what ``work`` makes of a size: half of it each time the device has no memory.

    The work begins from its start each time.

    Args:
        work: is given a size in the unit of its setting.
        size: of the first attempt.
        smallest: below this nothing gets smaller.
        name: of the size in a record.
        setting: what it is called in the settings.
        cure: what to lower, if even the smallest does not fit.

    Returns:
        What was made, and what belongs into the record of a shard: the size, and how often it was
        halved. The bytes of a shard are addressed without it.

    Raises:
        CapacityError: if the smallest does not fit either.
    """
    n_halved = 0
    while True:
        try:
            return work(size), {name: size} | ({"n_halved": n_halved} if n_halved else {})
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            # The text alone: the exception holds on to the tensors of every frame it came through.
            why = _sentence(error)
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


def in_batches_that_fit(
    work: Callable[[Batches], Made],
    batches: Batches,
    lengths: NDArray[np.int64],
    *,
    setting: str,
    cure: str,
) -> tuple[Made, dict[str, int]]:
    """Return what ``work`` makes of batches, halved until they fit; one window is the smallest.

    Args:
        work: is given the batches, see :func:`halved`.
        batches: window numbers, longest first, as :func:`plan_batches` makes them.
        lengths: [n_windows], tokens of every window.
        setting: what limits a batch.
        cure: what to lower, if one window does not fit.

    Returns:
        What was made, and what belongs into the record of a shard.

    Raises:
        CapacityError: if one window does not fit.
    """
    return until_it_fits(
        lambda size: work(halved(batches, lengths, size)),
        max(len(batch) * int(lengths[batch[0]]) for batch in batches),
        smallest=max(int(lengths[batch[0]]) for batch in batches),
        name="batch_tokens",
        setting=setting,
        cure=cure,
    )


def halved(batches: Batches, lengths: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Cut the batches of more than ``size`` tokens; the others stay whole.

    A window's bits may depend on its neighbours (see docs/workers.md), so nothing is regrouped; the
    windows keep their order however they are cut.

    Args:
        batches: window numbers, longest first.
        lengths: [n_windows], tokens of every window.
        size: most tokens of a batch, padding included.
    """
    return [fine for batch in batches for fine in plan_batches(lengths, batch, size)]
