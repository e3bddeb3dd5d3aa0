"""What devices can do: GPUs by their data sheets with a stated utilisation."""

from dataclasses import dataclass

from dskd_core.decoder.precision import Precision
from dskd_core.errors import ConfigError

UTILISATION = 0.4
"""Share of the peak that a well-fed transformer reaches on a GPU; an assumption, not a measure."""
_TERA, _GIGA = 1e12, 1e9


@dataclass(frozen=True)
class Device:
    """An accelerator, or a whole machine without one.

    Attributes:
        name: as given to ``--gpu``.
        flops: matrix products a second in ``precision``, dense, at the peak.
        float32_flops: float32 products a second.
        memory_bytes: its own memory.
        bandwidth: bytes a second from and to that memory.
        utilisation: share of ``flops`` that is expected.
        shares_host: whether its memory is the host's, as a CPU's is.
        precision: the fastest one it multiplies without emulation: what ``auto`` is on it.
    """

    name: str
    flops: float
    float32_flops: float
    memory_bytes: int
    bandwidth: float
    utilisation: float = UTILISATION
    shares_host: bool = False
    precision: Precision = "bfloat16"

    def rate(self, precision: Precision) -> float:
        """Return products a second in a precision; one that is emulated is float32 at best.

        >>> v100 = Device("V100", 125e12, 15.7e12, 16 * 10**9, 9e11, precision="float16")
        >>> v100.rate("float16") / 1e12, v100.rate("bfloat16") / 1e12
        (125.0, 15.7)
        """
        return self.flops if precision == self.precision else self.float32_flops

    def seconds(
        self,
        flops: float,
        float32_flops: float,
        moved_bytes: float,
        precision: Precision | None = None,
    ) -> float:
        """Return the time of some work: products, then float32 ones behind their reads.

        ``flops`` are of products in ``precision``, the device's own if None; ``moved_bytes`` are
        what the float32 ones read and write.
        """
        behind = max(float32_flops / self.float32_flops, moved_bytes / self.bandwidth)
        return flops / (self.rate(precision or self.precision) * self.utilisation) + behind


def _gpu(
    name: str,
    tflops: float,
    float32: float,
    gigabytes: int,
    bandwidth: int,
    precision: Precision = "bfloat16",
) -> Device:
    return Device(
        name,
        tflops * _TERA,
        float32 * _TERA,
        int(gigabytes * _GIGA),
        bandwidth * _GIGA,
        precision=precision,
    )


GPUS = {
    gpu.name: gpu
    for gpu in (
        _gpu("T4-16GB", 65, 8.1, 16, 320, "float16"),
        _gpu("V100-16GB", 125, 15.7, 16, 900, "float16"),
        _gpu("V100-32GB", 125, 15.7, 32, 900, "float16"),
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
"""Peaks from the makers' data sheets: dense bfloat16 (float16 where a GPU has no bfloat16) without
sparsity, plain float32."""
SHOWN = ("L40S-48GB", "A100-80GB", "H100-80GB")
"""The GPUs a plan shows beside this machine where none is asked for."""


def named_gpu(name: str) -> Device:
    """Return a GPU of the table; case does not matter.

    Raises:
        ConfigError: if it is not in the table.
    """
    for known, gpu in GPUS.items():
        if known.casefold() == name.casefold():
            return gpu
    raise ConfigError(f"No GPU {name!r} is known; there are {', '.join(GPUS)}: name one.")
