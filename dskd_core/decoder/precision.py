"""Which precision a device computes in: the one module that decides it.

A matrix product in bfloat16 is several times faster than one in float32 where the processor has
instructions for it, and many times slower where it has none and every value is converted on the
way. So ``auto`` takes what the device multiplies *natively*:

    device                                         teacher    training, coarse k-means
    CUDA that multiplies bfloat16 (sm_80 and on)   bfloat16   bfloat16
    CUDA with fast float16 alone (sm_70, sm_75)    float16    float32
    CPU with AMX, AVX512-BF16 or ARM's BF16        bfloat16   bfloat16
    every other device                             float32    float32

On a V100 or T4 the teacher is only read, its tensor cores multiply float16 eight times as fast as
float32, and a state that overflows is refused before it is kept. Training is another matter. The
gradients of states are means over the positions of a step: of a SmolLM2 student's, over 1,020
positions, 21 to 53 % of the entries lie below 6e-5, where float16 loses digits, so it would need a
loss scale, watched from step to step; float32 needs nothing. The coarse rounds of k-means take
float32 because their scores are sums over d products: |x|^2 about the mean reaches 2,900 in
SmolLM2's embeddings (d = 576), and 65,504 is the end of float16.

The environment variable ``DSKD_PRECISION`` (bfloat16, float16, float32) replaces what the device
multiplies natively, for all that is ``auto``: to go on with artifacts of another machine, or to
play one class of processor on another.
"""

import logging
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, cast, get_args

import psutil
import torch

from dskd_core.config import PipelineConfig, SensesConfig, TeacherConfig, TrainingConfig
from dskd_core.errors import ConfigError, shown
from dskd_core.threads import limit_threads

Precision = Literal["bfloat16", "float16", "float32"]
AUTO = "auto"
OVERRIDE = "DSKD_PRECISION"

_log = logging.getLogger(__name__)
_PRECISIONS: tuple[Precision, ...] = get_args(Precision)
_WHY = 200
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_UNUSABLE = (
    RuntimeError,
    AssertionError,
    NotImplementedError,
    torch.cuda.DeferredCudaCallError,
)
"""What torch raises of a device that it cannot use."""
_CHOSEN = ("no NVIDIA driver", "No CUDA GPUs are available")
_FAST_HALF = (7, 0)  # Volta's tensor cores; a Pascal card of 6.1 has float16 at 1/64 of float32


@dataclass(frozen=True)
class Processor:
    """What computes, as far as speed and bits depend on it.

    Attributes:
        device: as torch names its kind: cpu, cuda.
        instructions: the class of its matrix products: AMX, AVX512-BF16, AVX-512, AVX2, ARM-BF16,
            ARM, sm_90.
        name: of the product, as it names itself.
        native: the fastest precision it multiplies without emulation.
    """

    device: str
    instructions: str
    name: str
    native: Precision

    def __str__(self) -> str:
        return f"{self.device.upper()} {self.instructions} ({self.name})"


def torch_device(name: str) -> torch.device:
    """Return the torch device of a setting; ``auto`` is CUDA where there is one, else the CPU.

    Every stage asks before it computes, so this is where threads are fitted to the processors.

    Raises:
        ConfigError: if torch cannot use it here.
    """
    limit_threads()
    if name == AUTO:
        if torch.cuda.is_available():
            return torch.device("cuda")
        _tell_of_unusable_gpu()
        return torch.device("cpu")
    try:
        return _tried(name)
    except _UNUSABLE as error:
        why = str(error).partition("\n")[0][:_WHY]
        hidden = os.environ.get(_VISIBLE)
        if hidden is not None and name.startswith("cuda"):
            why += f"; {_VISIBLE} is {shown(hidden)}"
        raise ConfigError(
            f"The device {shown(name)} is not usable here ({why}); set auto, or one of "
            f"{', '.join(devices_here())}."
        ) from error


@cache
def _tell_of_unusable_gpu() -> None:
    """Say once why ``auto`` takes the CPU where torch was built for CUDA and finds a driver.

    A driver that is too old, or a GPU that does not answer, would otherwise make a run a hundred
    times slower without a word. No driver, or no GPU left visible, is what a user chose.
    """
    if torch.version.cuda is None:
        return
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except _UNUSABLE as error:
        if not any(word in str(error) for word in _CHOSEN):
            _log.warning(
                "The device auto is the CPU, though torch is built for CUDA %s: %s",
                torch.version.cuda,
                str(error).partition("\n")[0][:_WHY],
            )


@cache
def _tried(name: str) -> torch.device:
    """Return a device that a value could be read from, once a process."""
    device = torch.device(name)
    torch.empty(1, device=device).tolist()  # which meta has no values for
    return device


def devices_here() -> list[str]:
    """Return the devices that a setting may name on this machine."""
    return ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]


def memory_bytes(device: torch.device) -> int:
    """Return the memory of a device, used or not; of the CPU, that of the machine."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return int(psutil.virtual_memory().total)


def processor_of(device: torch.device) -> Processor:
    """Return what computes on a device."""
    if device.type == "cuda":
        return _cuda(device)
    if device.type == "cpu":
        return _cpu()
    return Processor(device.type, "unknown", device.type, "float32")


def processor_on(device: str) -> Processor:
    """Return what computes on the device of a setting."""
    return processor_of(torch_device(device))


def _cuda(device: torch.device) -> Processor:
    with torch.cuda.device(device):
        capability = torch.cuda.get_device_capability()
        native: Precision = "float32"
        if torch.cuda.is_bf16_supported(including_emulation=False):
            native = "bfloat16"
        elif capability >= _FAST_HALF:
            native = "float16"
        name = torch.cuda.get_device_name()
    return Processor("cuda", "sm_{}{}".format(*capability), name, native)


@cache
def _cpu() -> Processor:
    instructions = _cpu_instructions()
    native = "bfloat16" if instructions in {"AMX", "AVX512-BF16", "ARM-BF16"} else "float32"
    return Processor("cpu", instructions, _cpu_name(), cast(Precision, native))


def _cpu_instructions() -> str:
    """Return the class of the CPU's matrix products, as the libraries are allowed to use it."""
    if platform.machine().lower() in {"aarch64", "arm64"}:
        # On ARM oneDNN asks the processor itself; on x86 the same call is true without the
        # instructions, where oneDNN emulates them.
        asked = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
        return "ARM-BF16" if asked is not None and asked() else "ARM"
    width = torch.backends.cpu.get_cpu_capability()
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    if width == "AVX512" and limit in {"", "ALL", "DEFAULT"}:
        if torch.cpu._is_amx_tile_supported():
            return "AMX"
        if torch.cpu._is_avx512_bf16_supported():
            return "AVX512-BF16"
    return {"AVX512": "AVX-512"}.get(width, width)


def _cpu_name() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            named = [line for line in lines if line.startswith("model name")]
    except OSError:
        named = []
    return named[0].partition(":")[2].strip() if named else platform.processor() or "unnamed"


def best_precision(processor: Processor, environment: Mapping[str, str] | None = None) -> Precision:
    """Return the precision that stands for ``auto`` on a processor: native, or the override's.

    >>> cpu = Processor("cpu", "AVX2", "EPYC", "float32")
    >>> best_precision(cpu, {}), best_precision(cpu, {"DSKD_PRECISION": "bfloat16"})
    ('float32', 'bfloat16')

    Raises:
        ConfigError: if ``DSKD_PRECISION`` names no precision.
    """
    asked = (os.environ if environment is None else environment).get(OVERRIDE, "")
    if not asked:
        return processor.native
    if asked not in _PRECISIONS:
        raise ConfigError(
            f"{OVERRIDE}={asked!r} is no precision; set {', '.join(_PRECISIONS)}, or unset it."
        )
    return asked


def trained_in(native: Precision) -> Precision:
    """Return what training and k-means compute in where ``native`` is best: never float16."""
    return "float32" if native == "float16" else native


def resolved_teacher(config: TeacherConfig) -> TeacherConfig:
    """Return a teacher's settings with the precision of its weights and arithmetic named.

    The device is asked where it is ``auto`` alone, here and below: who joins what others made, or
    looks whether it is there, need not have it.

    Raises:
        ConfigError: if it is ``auto`` and the device is not usable here.
    """
    if config.dtype != AUTO:
        return config
    return config.model_copy(update={"dtype": _best_on(config.device)})


def resolved_training(config: TrainingConfig, device: str) -> TrainingConfig:
    """Return training's settings with the precision of its products on a device named.

    Raises:
        ConfigError: if it is ``auto`` and the device is not usable here.
    """
    if config.compute_dtype != AUTO:
        return config
    return config.model_copy(update={"compute_dtype": trained_in(_best_on(device))})


def resolved_senses(config: SensesConfig) -> SensesConfig:
    """Return k-means' settings with the precision of its coarse rounds on its device named.

    Raises:
        ConfigError: if it is ``auto`` and the device is not usable here.
    """
    if config.backend == "sklearn":  # which has no coarse rounds
        return config.model_copy(update={"coarse_dtype": "float32"})
    if config.coarse_dtype != AUTO:
        return config
    return config.model_copy(update={"coarse_dtype": trained_in(_best_on(config.device))})


def _best_on(device: str) -> Precision:
    return best_precision(processor_of(torch_device(device)))


def check_computes(setting: str, asked: str, device: str) -> None:
    """Refuse a precision that a device cannot compute in; say what an emulated one costs.

    ``setting`` is what it is called in the settings.

    Raises:
        ConfigError: if it cannot, or is not usable here.
    """
    place = torch_device(device)
    if asked == AUTO:
        return
    precision, processor = cast(Precision, asked), processor_of(place)
    _check_possible(setting, precision, place)
    if precision != "float32" and processor.native == "float32":
        _warn_once(
            f"{setting} {precision} is emulated on {processor}: several times slower than float32 "
            f"(6 times for a forward pass of SmolLM2 on AVX2); set {setting} to auto."
        )


@cache
def _warn_once(sentence: str) -> None:
    _log.warning("%s", sentence)


@cache
def _check_possible(setting: str, precision: Precision, device: torch.device) -> None:
    try:
        small = torch.ones(2, 2, device=device, dtype=getattr(torch, precision))
        torch.matmul(small, small)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(
            f"{setting} {precision} cannot be computed on {processor_of(device)} "
            f"({str(error).splitlines()[0]}); set it to auto."
        ) from error


def resolved(config: PipelineConfig) -> PipelineConfig:
    """Return settings whose precisions are named, as this process would compute them.

    Done once, before any work, so that all workers of a run have the same addresses.

    Raises:
        ConfigError: if a device cannot compute in a precision that was asked for.
    """
    teacher, senses, training = config.teacher, config.senses, config.training
    check_computes("teacher.dtype", teacher.dtype, teacher.device)
    check_computes("training.compute_dtype", training.compute_dtype, teacher.device)
    if senses.backend != "sklearn":
        check_computes("senses.coarse_dtype", senses.coarse_dtype, senses.device)
    return config.model_copy(
        update={
            "teacher": resolved_teacher(config.teacher),
            "senses": resolved_senses(config.senses),
            "training": resolved_training(config.training, config.teacher.device),
        }
    )
