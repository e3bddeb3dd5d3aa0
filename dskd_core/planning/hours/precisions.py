"""Which precisions a plan is made for: those of a named GPU, else those of this machine."""

from dskd_core.config import PipelineConfig
from dskd_core.decoder.precision import AUTO, Precision, resolved, torch_device, trained_in
from dskd_core.errors import ConfigError
from dskd_core.planning.hours.hardware import Device


def resolved_for(config: PipelineConfig, device: Device | None = None) -> PipelineConfig:
    """Return settings whose precisions are named: ``auto`` is what a device multiplies natively.

    ``device`` is a GPU by its data sheet, that this process need not have; None is this machine,
    taken to multiply bfloat16 where it lacks ``teacher.device``.

    Raises:
        ConfigError: if this machine cannot compute in a precision that was asked for.
    """
    if device is not None:
        return _named(config, device.precision)
    try:
        torch_device(config.teacher.device)
        torch_device(config.senses.device)
    except ConfigError:
        return _named(config, "bfloat16")
    return resolved(config)


def precision_on(device: Device, asked: str, *, trains: bool) -> Precision:
    """Return the precision of products on a device.

    Args:
        device: where they run.
        asked: the setting, which may be ``auto``.
        trains: whether float16 is refused, as in training and k-means (decoder/precision.py).

    >>> t4 = Device("T4", 65e12, 8e12, 16 * 10**9, 3e11, precision="float16")
    >>> precision_on(t4, "auto", trains=False), precision_on(t4, "auto", trains=True)
    ('float16', 'float32')
    """
    if asked != AUTO:
        return asked  # type: ignore[return-value]
    return trained_in(device.precision) if trains else device.precision


def _named(config: PipelineConfig, native: Precision) -> PipelineConfig:
    trained = trained_in(native)
    coarse = "float32" if config.senses.backend == "sklearn" else trained
    named = {
        stage: settings.model_copy(update={setting: precision})
        for stage, setting, precision in (
            ("teacher", "dtype", native),
            ("training", "compute_dtype", trained),
            ("senses", "coarse_dtype", coarse),
        )
        if getattr(settings := getattr(config, stage), setting) == AUTO
    }
    return config.model_copy(update=named)
