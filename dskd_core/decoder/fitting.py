"""Batches that the device has no memory for are halved, and the work begins again.

fitting = Fitting.from_batches(batches, lengths, setting="corpus.batch_tokens", cure="...")
for size in fitting:
    with fitting.attempt():
        result = work(halved(batches, lengths, size))
"""

import gc
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dskd_core.decoder.batches import plan_batches
from dskd_core.errors import CapacityError

Batches = Sequence[NDArray[np.int64]]

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

    Args:
        what: is being done.
        cure: what to change, as the second half of a sentence.

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


@dataclass
class Fitting:
    """Attempts at one piece of work, with batches half as large each time, until one fits.

    Attributes:
        size: of the largest batch of the attempt at hand, in the unit of its setting.
        smallest: below this nothing gets smaller.
        setting: what the size is called in the settings.
        cure: what to lower, if even the smallest does not fit.
        n_halved: how often the device had no memory so far.
    """

    size: int
    smallest: int
    setting: str
    cure: str
    n_halved: int = 0
    _is_done: bool = False

    @classmethod
    def from_batches(
        cls, batches: Batches, lengths: NDArray[np.int64], *, setting: str, cure: str
    ) -> "Fitting":
        """Begin with the largest of some batches; one window of them is the smallest.

        Args:
            batches: window numbers, longest first, as :func:`plan_batches` makes them.
            lengths: tokens of every window.
            setting: what limits a batch.
            cure: what to lower, if one window does not fit.
        """
        size = max(len(batch) * int(lengths[batch[0]]) for batch in batches)
        smallest = max(int(lengths[batch[0]]) for batch in batches)
        return cls(size, smallest, setting, cure)

    def __iter__(self) -> Iterator[int]:
        """Yield the size of every attempt: the work begins from its start each time."""
        while not self._is_done:
            yield self.size

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Let an attempt run out of the device's memory, and prepare a smaller one.

        Raises:
            CapacityError: if the smallest does not fit either.
        """
        try:
            yield
            self._is_done = True
            return
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            # The text alone: the exception holds on to the tensors of every frame it came through.
            why = _sentence(error)
        if self.size <= self.smallest:
            raise CapacityError(
                f"The device has no memory for the smallest batch, of {self.setting} {self.size} "
                f"({why}); lower {self.cure}, or use a device with more memory."
            )
        self.size, self.n_halved = max(self.smallest, self.size // 2), self.n_halved + 1
        _log.warning("Out of memory (%s): again with %s %d", why, self.setting, self.size)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def report(self, name: str) -> dict[str, int]:
        """Return what belongs into the record of a shard; its bytes are addressed without it."""
        return {name: self.size} | ({"n_halved": self.n_halved} if self.n_halved else {})


def halved(batches: Batches, lengths: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Cut the batches of more than ``size`` tokens; the others stay whole.

    A window's bits may depend on its neighbours (see docs/workers.md), so nothing is regrouped; the
    windows keep their order however they are cut.

    Args:
        batches: window numbers, longest first.
        lengths: tokens of every window.
        size: most tokens of a batch, padding included.
    """
    return [fine for batch in batches for fine in plan_batches(lengths, batch, size)]
