"""Logits of positions, a chunk at a time, in memory that is kept.

A chunk is one product with all of W; a block of its rows is what a kernel reads at a time. Both are
powers of two, and a compiled kernel has one shape.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from dskd_core.decoder.head import Head
from dskd_core.training.losses.kernels import Kernel, kernel_constants, sums_dtype

_CHUNK_LOGITS = {"cpu": 64 << 20, "cuda": 256 << 20}
"""Logits of a chunk. Each chunk brings all of W into the caches again, and what that costs is
spread over its positions: so their number counts, and not the bytes of a logit. With 49,152 tokens
these are 1,024 positions, as 128 MiB of bfloat16 always were; float32 had 512. On AVX2 the two
products alone of 2,040 positions took 2.3 s in chunks of 512 and 2.1 s of 1,024 (one run). Of the
whole pass online was faster (4.7 to 4.4 s); cached showed no gain (2.6 and 2.8 s, within noise)."""
_BLOCK_BYTES = {"cpu": 8 << 20, "cuda": 1 << 30}
_MOST_ROWS = 4096


class Buffers:
    """Memory of logits, kept from one step to the next.

    A fresh block of this size would be zeroed, and come from the system page by page, every time.
    """

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}

    def rows(self, name: str, n: int, weight: Tensor) -> Tensor:
        """Return n rows of V values of the head's dtype: whatever a step before has left there."""
        kept = self._kept.get(name)
        fits = kept is not None and (kept.dtype, kept.device, kept.shape[1]) == (
            weight.dtype,
            weight.device,
            len(weight),
        )
        if kept is None or not fits or len(kept) < n:
            with torch.inference_mode(False):
                kept = weight.new_zeros(n, len(weight))
            self._kept[name] = kept
        return kept[:n]


class Walk:
    """Chunks of positions through one buffer of logits, and blocks of it through a kernel."""

    def __init__(
        self,
        head: Head,
        n: int,
        temperature: float,
        kl_weight: float,
        compiled: bool,
        buffers: Buffers | None = None,
        *,
        ce_weight: float = 1.0,
    ) -> None:
        self.ce_weight = ce_weight
        self.head, self.n, self.compiled = head, n, compiled
        self.temperature, self.kl_weight = temperature, kl_weight
        weight = head.weight
        self.chunk, self.block, used = _sizes(n, len(weight), weight.device.type)
        self._buffers = buffers or Buffers()
        self.buffer = self._buffers.rows("student", used, weight)
        self.constants = kernel_constants(
            temperature, kl_weight, head.softcap, like=weight, ce_weight=ce_weight
        )

    @property
    def second(self) -> Tensor:
        """The buffer of the teacher's logits, made when first needed."""
        return self._buffers.rows("teacher", len(self.buffer), self.head.weight)

    def chunks(self) -> Iterator[slice]:
        """Yield the positions of each chunk."""
        for start in range(0, self.n, self.chunk):
            yield slice(start, min(self.n, start + self.chunk))

    def enter(self, states: Tensor) -> Tensor:
        """Return states as the product takes them: scaled, in the head's dtype."""
        scaled = states if self.head.scale == 1.0 else self.head.scale * wide(states)
        return scaled.to(self.head.weight.dtype)

    def logits(self, states: Tensor, buffer: Tensor | None = None) -> Tensor:
        """Return the logits of a chunk (before any soft cap), a view of the buffer."""
        out = (self.buffer if buffer is None else buffer)[: len(states)]
        entered, transposed = self.enter(states), self.head.weight.T
        if self.head.bias is None:
            return torch.mm(entered, transposed, out=out)
        return torch.addmm(self.head.bias, entered, transposed, out=out)

    def apply(self, run: Kernel, n: int, *buffers: Tensor) -> tuple[Tensor, ...]:
        """Run a kernel over the first n rows of the buffers, in blocks of one shape if compiled.

        What lies beyond n in the last block is computed and dropped.
        """
        blocks = []
        for start in range(0, n, self.block):
            stop = start + self.block if self.compiled else min(n, start + self.block)
            blocks.append(run(*(buffer[start:stop] for buffer in buffers), self.constants))
        return tuple(torch.cat(column)[:n] for column in zip(*blocks, strict=True))


def pass_bytes(n: int, n_tokens: int, *, item_bytes: int, n_buffers: int, compiled: bool) -> int:
    """Return the bytes a pass over the vocabulary holds on a GPU, beside the head itself.

    Args:
        n: positions.
        n_tokens: of the vocabulary.
        item_bytes: of a logit, which has the head's dtype.
        n_buffers: 2 where the teacher's logits stand beside the student's, else 1.
        compiled: whether a block's float32 values stay in registers; eager, four of them stand.
    """
    _, block, used = _sizes(n, n_tokens, "cuda")
    wide_values = 0 if compiled else 4 * 4 * min(block, n)
    return n_tokens * (n_buffers * used * item_bytes + wide_values)


def wide(values: Tensor) -> Tensor:
    """Return values in the dtype of sums."""
    return values.to(sums_dtype(values))


def _sizes(n: int, n_tokens: int, device: str) -> tuple[int, int, int]:
    """Return the rows of a chunk, of a block, and of the buffer that n positions need."""
    chunk = _power_of_two(_CHUNK_LOGITS.get(device, 256 << 20), n_tokens)
    block = min(chunk, _power_of_two(_BLOCK_BYTES.get(device, 1 << 30), 4 * n_tokens))
    return chunk, block, min(chunk, -(-n // block) * block)


def _power_of_two(budget: int, row: int) -> int:
    """Return the largest power of two of rows within a budget, between 1 and _MOST_ROWS."""
    rows = int(min(_MOST_ROWS, max(1, budget // row)))
    return 1 << (rows.bit_length() - 1)
