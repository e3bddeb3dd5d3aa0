"""Whether a device has the memory for one step of training, by the plan's arithmetic."""

import json
import math

from dskd_core.config import TeacherConfig, TrainingConfig
from dskd_core.corpus.store import load_windows
from dskd_core.decoder.model_files import CONFIG
from dskd_core.decoder.precision import memory_bytes, torch_device
from dskd_core.errors import CapacityError, ConfigError
from dskd_core.planning.architecture import Architecture, count
from dskd_core.planning.quantities import STATE_BYTES, kept_bytes, optimizer_bytes
from dskd_core.store.artifacts import Artifact
from dskd_core.training.activations.capture import sample_windows
from dskd_core.training.ranks.launched import ranks_here
from dskd_core.training.student.gap_fit import unfittable
from dskd_core.training.student.shape import MODEL, Shape, shape_of

_CERTAIN = 0.5
"""Share of what a plan expects a backward pass to keep that no model does without: measured were
0.9 to 1.4 of it, and a compiled layer computes some of it again."""


def check_step(
    config: TrainingConfig,
    teacher_config: TeacherConfig,
    untrained: Artifact,
    text: Artifact | None = None,
) -> None:
    """Refuse a step that is larger than the memory of the device, or that a recipe cannot take.

    Only what a step cannot do without is counted, so what is refused does not fit; what is let pass
    may still be too much beside all else. Nothing is said of a model that cannot be counted.
    Windows are those of ``text`` to train on; of one token if none is there yet.

    Raises:
        CapacityError: if the memory does not suffice.
        ConfigError: if a recipe speaks of a gap, or of a start, that these layers do not have.
    """
    check_gap(config, shape_of(untrained))
    report = untrained.record.report
    # Students made before starts could be fitted do not say; training finds out.
    if config.fits_starts and report.get("gap_projection", "unknown") is None:
        raise ConfigError(unfittable(str(report["source"])))
    try:
        file = untrained.folder() / MODEL / CONFIG
        student = count(json.loads(file.read_text("utf-8")), str(file))
    except ConfigError:  # a model with code of its own
        return
    device, shape = torch_device(teacher_config.device), shape_of(untrained)
    n_beside = ranks_here(config.n_ranks) if device.type == "cpu" else 1  # that share the memory
    fixed = n_beside * _fixed_bytes(config, teacher_config, untrained, student, shape, device.type)
    length = _mean_length(config, text)
    window = (
        _CERTAIN
        * length
        * kept_bytes(student, len(shape.trained), STATE_BYTES.get(config.compute_dtype, 2))
    )
    n_windows = config.batch_windows // (config.n_accumulated * config.n_ranks)
    there = memory_bytes(device)
    if (needed := fixed + n_beside * n_windows * window) > there:
        raise CapacityError(
            f"A step of training takes at least {_gibi(needed)} for {n_windows:,} windows at a "
            f"time of {length:,.0f} tokens on average (training.batch_windows "
            f"{config.batch_windows:,}, n_accumulated {config.n_accumulated:,}, n_ranks "
            f"{config.n_ranks:,}) and {len(shape.trained)} trained layers, more than the "
            f"{_gibi(there)} of {device}; "
            f"{_cure(config, there - fixed, n_beside * window, device.type)}."
        )


def check_gap(config: TrainingConfig, shape: Shape) -> None:
    """Refuse a recipe that needs a gap between the student's layers where these have none.

    Raises:
        ConfigError: if one does.
    """
    if config.reads_gap:
        _ = shape.behind_gap
    if config.fits_starts:
        _ = shape.fitted


def _cure(config: TrainingConfig, room: float, window: float, device: str) -> str:
    """Say what makes a step smaller, where ``room`` bytes are left for windows of so many."""
    if room > window:
        batches = config.n_accumulated * config.n_ranks
        return (
            f"raise training.n_accumulated, or lower training.batch_windows to at most "
            f"{math.floor(room / window) * batches:,}"
        )
    if room > 0:
        return "lower corpus.window_tokens (or prompts.max_prompt_tokens), since no window fits"
    fewer = ", or training.n_ranks" if device == "cpu" and config.n_ranks > 1 else ""
    return f"lower student.n_trainable_layers{fewer}, or take a device with more memory"


def _fixed_bytes(
    config: TrainingConfig,
    teacher_config: TeacherConfig,
    untrained: Artifact,
    student: Architecture,
    shape: Shape,
    device: str,
) -> int:
    """Return the bytes of one rank that do not depend on a step's windows.

    On a CPU the weights that do not train may stay in their file.
    """
    trained = student.layer_parameters(shape.trained)
    tail = student.layer_parameters(range(shape.entry, shape.n_layers))
    beside = untrained.record.report["teacher_parameters"] if config.mode == "online" else 0
    models = student.parameters() + beside if device != "cpu" else 0
    dtype = str(untrained.record.config.get("dtype", teacher_config.dtype))
    return optimizer_bytes(trained, tail) + models * STATE_BYTES.get(dtype, 2)


def _mean_length(config: TrainingConfig, text: Artifact | None) -> float:
    """Return the mean length of the windows to train on: some step has that, or more."""
    if text is None:
        return 1.0
    if text.record.stage == "activations":
        counts = text.record.counts
        return float(counts["positions"] / max(1, counts["windows"]))
    windows = load_windows(text)
    trained = sample_windows(windows, heldout=False, budget=config.max_train_tokens)
    if not len(trained):
        return 1.0
    return float(windows.lengths[trained].mean()) + len(windows.prefix)


def _gibi(n_bytes: float) -> str:
    return f"{n_bytes / 2**30:,.3g} GiB"
