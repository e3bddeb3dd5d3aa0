"""What this machine can do, measured in half a second on pieces of the pipeline's own work.

A layer like the teacher's reads a few windows, with its norms, attention and copies, and a chunk of
positions is multiplied with rows of a vocabulary head: in the precision that ``auto`` resolves to,
the layer in float32 too; never in one that is emulated, in which a single product could take
seconds.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention, silu

from dskd_core.decoder.precision import (
    AUTO,
    Precision,
    best_precision,
    memory_bytes,
    processor_of,
    torch_device,
)
from dskd_core.planning.hours.hardware import Device

PROBE_SECONDS = 0.5
_SHARES = {
    "layer": 0.2,
    "again": 0.2,
    "float32": 0.2,
    "head": 0.3,
    "max": 0.05,
    "softmax": 0.1,
    "copy": 0.05,
}
_N_LAYERS = 2  # whose weights take turns, as those of a model do
_HEAD_SIZE = 64
_COPIED_BYTES = 32 << 20
_EMULATION = 6.0
"""How much slower than float32 a forward in an emulated precision is: SmolLM2's on AVX2."""
_GIGA = 1e9
_LOOPS = 60_000
_REFERENCE_LOOP_SECONDS = 0.0045


@dataclass(frozen=True)
class _Shapes:
    """Sizes of what is measured: n_windows of length tokens, d wide, and rows of a head."""

    n_windows: int
    length: int
    d: int
    inner: int
    positions: int
    tokens: int


_CPU = _Shapes(2, 256, 576, 1536, 512, 16_384)
_CUDA = _Shapes(16, 512, 4096, 14_336, 8192, 65_536)


@dataclass(frozen=True)
class Host(Device):
    """This machine, as measured: ``flops`` and ``float32_flops`` are those of whole layers.

    Attributes:
        processor: what computes.
        n_threads: threads of a product.
        head_flops: products a second of states by the vocabulary head, in ``precision``.
        max_values: logits a second that a maximum over the vocabulary reads.
        softmax_values: logits a second that a softmax in float32 reads and writes.
        core: speed of one core at plain Python; 1 on the machine the constants of forecast.py
            were measured on.
    """

    processor: str = ""
    n_threads: int = 1
    head_flops: float = 0.0
    max_values: float = 1e9
    softmax_values: float = 1e9
    core: float = 1.0

    def rate(self, precision: Precision) -> float:
        """Return products a second of states by a layer's weights; emulated ones are far slower."""
        if precision in {self.precision, "float32"}:
            return super().rate(precision)
        return self.float32_flops / _EMULATION

    def head_rate(self, precision: Precision) -> float:
        """Return products a second of states by the vocabulary head."""
        return self.rate(precision) * self.head_flops / self.flops

    def measured(self) -> str:
        """Say what was measured, in words."""
        return (
            f"{self.processor}, {self.n_threads} threads: measured {self.flops / _GIGA:.0f} "
            f"GFLOP/s in {self.precision}, {self.bandwidth / _GIGA:.0f} GB/s"
        )


def this_machine(device: str = AUTO) -> Host:
    """Measure products, element-wise work and copies on a device of this machine.

    Every measure is the best of as many tries as its share of half a second allows, at least two:
    the first is slower than those that follow.

    ``auto`` takes CUDA where there is one.

    Raises:
        ConfigError: if torch cannot use it here.
    """
    place = torch_device(device)
    processor = processor_of(place)
    native = best_precision(processor)
    if native != processor.native and processor.native == "float32":
        native = "float32"  # the override asks for an emulated one: do not measure that
    shapes = _CUDA if place.type == "cuda" else _CPU
    with torch.inference_mode():
        layer = _layer_rate("layer", shapes, native, place)
        float32 = 0.0
        if native != "float32":
            float32 = _layer_rate("float32", shapes, "float32", place)
        head = _head_rate(shapes, native, place)
        largest, softmax, copy = _element_rates(shapes, native, place)
        # A process's first products are a fifth slower than those that follow.
        layer = max(layer, _layer_rate("again", shapes, native, place))
    if native == "float32":
        float32 = layer
    return Host(
        "this machine",
        layer,
        float32,
        memory_bytes(place),
        copy,
        utilisation=1.0,
        shares_host=place.type != "cuda",
        precision=native,
        processor=str(processor),
        n_threads=torch.get_num_threads(),
        head_flops=head,
        max_values=largest,
        softmax_values=softmax,
        core=_core_speed(),
    )


def _layer_rate(kind: str, shapes: _Shapes, precision: Precision, place: torch.device) -> float:
    """Return FLOPs a second of decoder layers over windows, their norms and attention included."""
    dtype, d, inner = getattr(torch, precision), shapes.d, shapes.inner
    layers = [
        [
            torch.full(shape, 0.01, device=place, dtype=dtype)
            for shape in ((3 * d, d), (d, d), (2 * inner, d), (d, inner))
        ]
        for _ in range(_N_LAYERS)
    ]
    states = torch.full((shapes.n_windows, shapes.length, d), 0.5, device=place, dtype=dtype)

    def forward() -> Tensor:
        found = states
        for weights in layers:
            found = _layer(found, *weights)
        return found

    n_weights = 4 * d * d + 3 * d * inner
    flops = 2.0 * n_weights + 4.0 * d * shapes.length / 2
    n_tokens = _N_LAYERS * shapes.n_windows * shapes.length
    return n_tokens * flops / _fastest(kind, forward, place)


def _layer(states: Tensor, qkv: Tensor, out: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """Return the states after one layer: attention and a gated block, each after a norm."""
    n, length, d = states.shape
    heads = (_normed(states) @ qkv.T).view(n, length, -1, _HEAD_SIZE).transpose(1, 2)
    q, k, v = heads.chunk(3, dim=1)
    seen = scaled_dot_product_attention(_turned(q), _turned(k), v, is_causal=True)
    states = states + seen.transpose(1, 2).reshape(n, length, d) @ out.T
    gate, up = (_normed(states) @ gate_up.T).chunk(2, dim=-1)
    return states + (silu(gate) * up) @ down.T


def _normed(states: Tensor) -> Tensor:
    wide = states.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-5)).to(states.dtype)


def _turned(heads: Tensor) -> Tensor:
    """Return queries or keys as a rotary embedding leaves them, as far as their cost goes."""
    first, second = heads.chunk(2, dim=-1)
    return heads * 0.8 + torch.cat((-second, first), dim=-1) * 0.6


def _head_rate(shapes: _Shapes, precision: Precision, place: torch.device) -> float:
    """Return FLOPs a second of a chunk of positions by rows of the head, in memory that is kept."""
    dtype = getattr(torch, precision)
    states = torch.full((shapes.positions, shapes.d), 0.5, device=place, dtype=dtype)
    weight = torch.full((shapes.tokens, shapes.d), 0.5, device=place, dtype=dtype)
    logits = torch.empty(shapes.positions, shapes.tokens, device=place, dtype=dtype)
    seconds = _fastest("head", partial(torch.mm, states, weight.T, out=logits), place)
    return 2.0 * logits.numel() * shapes.d / seconds


def _element_rates(
    shapes: _Shapes, precision: Precision, place: torch.device
) -> tuple[float, float, float]:
    """Return logits a second of a maximum, and of a softmax; bytes a second of a copy."""
    logits = torch.zeros(shapes.positions // 4, 2 * shapes.tokens, device=place)
    logits += torch.arange(logits.shape[1], device=place) % 7
    out, like = torch.empty_like(logits), logits.to(getattr(torch, precision))
    block = torch.ones(_COPIED_BYTES, dtype=torch.uint8, device=place)
    target = torch.empty_like(block)
    largest = _fastest("max", lambda: like.max(dim=1).values, place)
    softmax = _fastest("softmax", partial(torch.softmax, logits, dim=1, out=out), place)
    copy = _fastest("copy", partial(target.copy_, block), place)
    return like.numel() / largest, logits.numel() / softmax, 2.0 * block.nbytes / copy


def _fastest(kind: str, work: Callable[[], Tensor], place: torch.device) -> float:
    """Return the seconds of the fastest of some runs."""
    seconds: list[float] = []
    until = time.perf_counter() + _SHARES[kind] * PROBE_SECONDS
    while len(seconds) < 2 or time.perf_counter() < until:
        started = time.perf_counter()
        work()
        if place.type == "cuda":
            torch.cuda.synchronize(place)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _core_speed() -> float:
    """Return how fast one core runs plain Python, against the reference machine."""
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        total = 0
        for number in range(_LOOPS):
            total += number * number % 7
        seconds.append(time.perf_counter() - started)
    return _REFERENCE_LOOP_SECONDS / min(seconds)
