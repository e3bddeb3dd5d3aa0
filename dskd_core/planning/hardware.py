"""What accelerators can do: published peaks, a stated utilisation, and this machine as measured."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from dskd_core.errors import ConfigError

UTILISATION = 0.4
"""Share of the peak that a well-fed transformer reaches on a GPU; an assumption, not a measure."""
MEASURED_UTILISATION = 0.8
"""Share of a measured product's rate: a layer has norms, attention and copies beside products."""
_TERA, _GIGA = 1e12, 1e9


@dataclass(frozen=True)
class Device:
    """An accelerator, or a whole machine without one.

    Attributes:
        name: as given to ``--gpu``.
        flops: bf16 matrix products a second, dense, at the peak.
        float32_flops: float32 products a second.
        memory_bytes: its own memory.
        bandwidth: bytes a second from and to that memory.
        utilisation: share of ``flops`` that is expected.
        shares_host: whether its memory is the host's, as a CPU's is.
    """

    name: str
    flops: float
    float32_flops: float
    memory_bytes: int
    bandwidth: float
    utilisation: float = UTILISATION
    shares_host: bool = False

    def seconds(self, flops: float, float32_flops: float, moved_bytes: float) -> float:
        """Return the time of some work: bf16 products, then float32 ones behind their reads."""
        behind = max(float32_flops / self.float32_flops, moved_bytes / self.bandwidth)
        return flops / (self.flops * self.utilisation) + behind


def _gpu(name: str, tflops: float, float32: float, gigabytes: int, bandwidth: int) -> Device:
    memory = int(gigabytes * _GIGA)
    return Device(name, tflops * _TERA, float32 * _TERA, memory, bandwidth * _GIGA)


GPUS = {
    gpu.name: gpu
    for gpu in (
        _gpu("L4-24GB", 121, 30.3, 24, 300),
        _gpu("A10G-24GB", 70, 31.2, 24, 600),
        _gpu("RTX4090-24GB", 165, 82.6, 24, 1008),
        _gpu("A100-40GB", 312, 19.5, 40, 1555),
        _gpu("L40S-48GB", 362, 91.6, 48, 864),
        _gpu("A100-80GB", 312, 19.5, 80, 2039),
        _gpu("H100-80GB", 989, 66.9, 80, 3350),
        _gpu("H200-141GB", 989, 66.9, 141, 4800),
    )
}
"""Peaks from the makers' data sheets: dense bf16 without sparsity, plain float32."""
SHOWN = ("L40S-48GB", "A100-80GB", "H100-80GB")
"""The GPUs a plan shows where none is asked for."""


def named_gpu(name: str) -> Device:
    """Return a GPU of the table; case does not matter.

    Raises:
        ConfigError: if it is not in the table.
    """
    for known, gpu in GPUS.items():
        if known.casefold() == name.casefold():
            return gpu
    raise ConfigError(f"No GPU {name!r} is known; there are {', '.join(GPUS)}: name one.")


def this_machine() -> Device:
    """Measure bf16 and float32 products and copies here, on CUDA where there is one; seconds."""
    import psutil  # type: ignore[import-untyped]
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = 8192 if device.type == "cuda" else 1536
    products = 2.0 * size**3
    rates = []
    for dtype in (torch.bfloat16, torch.float32):
        left = torch.randn(size, size, device=device).to(dtype)
        rates.append(products / _fastest(partial(torch.matmul, left, left), device.type))
    block = torch.ones(64 << 20, dtype=torch.uint8, device=device)
    bandwidth = 2 * block.nbytes / _fastest(block.clone, device.type)
    if device.type == "cuda":
        memory = int(torch.cuda.get_device_properties(device).total_memory)
        name = f"this machine ({torch.cuda.get_device_name(device)})"
    else:
        memory, name = int(psutil.virtual_memory().total), "this machine (CPU)"
    return Device(
        name,
        rates[0],
        rates[1],
        memory,
        bandwidth,
        MEASURED_UTILISATION,
        shares_host=device.type == "cpu",
    )


def _fastest(work: Callable[[], object], kind: str, *, n_runs: int = 4) -> float:
    import torch

    seconds = []
    for _ in range(n_runs):
        started = time.perf_counter()
        work()
        if kind == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
