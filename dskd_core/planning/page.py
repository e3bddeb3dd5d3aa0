"""A plan as rows and sentences, for a terminal and for the UI."""

from collections.abc import Sequence

from dskd_core.errors import ConfigError
from dskd_core.planning.capacity import check_gap
from dskd_core.planning.cluster import Cluster, stage_times
from dskd_core.planning.hours.forecast import forecast
from dskd_core.planning.hours.hardware import Device
from dskd_core.planning.hours.probe import Host
from dskd_core.planning.plan import (
    FEW_SHARDS,
    HOUR,
    MAX_SHARDS,
    MIN_SHARD_SECONDS,
    STORE_BYTES_PER_SECOND,
    Plan,
)
from dskd_core.planning.quantities import KMEANS_ITERATIONS, StagePlan
from dskd_core.progress import in_bytes
from dskd_core.sharded_stages import SHARDED_STAGES
from dskd_core.training.student.likeness import why_refused

_SHOWN = 1.0
_FIXED = "their size has no setting"
_CURES = {
    stage.name: f"raise {stage.shard_setting}" if stage.shard_setting else _FIXED
    for stage in SHARDED_STAGES
}
"""What makes the shards of a stage longer."""


def stage_rows(plan: Plan) -> list[dict[str, str]]:
    """Return one row a stage, and their sum."""
    rows = [
        {
            "stage": stage.stage,
            "tokens": _count(stage.n_tokens),
            "windows": _count(stage.n_windows),
            "shards": _count(stage.n_shards),
            "stored": _size(stage.stored_bytes),
            "host peak": _size(stage.host_bytes),
            "GPU peak": _size(stage.device_bytes),
            "precision": _precision(plan, stage),
            "FLOPs": f"{total:.2g}" if (total := stage.flops + stage.float32_flops) else "-",
            "basis": stage.basis,
        }
        for stage in plan.stages
    ]
    whole = {"stage": "all", "stored": _size(plan.stored_bytes)}
    return [*rows, dict.fromkeys(rows[0], "") | whole]


def hour_rows(plan: Plan, devices: Sequence[Device]) -> list[dict[str, str]]:
    """Return one row a stage that takes any time, and one column a device; then the sums.

    This machine's are forecast from what was measured on it; it alone has stages that need no plan.
    """
    by_device = {device.name: _seconds_on(plan, device) for device in devices}
    stages = dict.fromkeys(stage for seconds in by_device.values() for stage in seconds)
    slow = [
        s for s in stages if any(seconds.get(s, 0.0) >= _SHOWN for seconds in by_device.values())
    ]
    about = [
        {"time of": "precision"} | {d.name: _precisions_on(plan, d) for d in devices},
        {"time of": "memory"} | {d.name: _size(d.memory_bytes) for d in devices},
    ]
    times = [
        {"time of": stage}
        | {
            n: in_time(seconds[stage]) if stage in seconds else ""
            for n, seconds in by_device.items()
        }
        for stage in slow
    ]
    whole = {name: in_time(sum(seconds.values())) for name, seconds in by_device.items()}
    return [*about, *times, {"time of": "all"} | whole]


def _seconds_on(plan: Plan, device: Device) -> dict[str, float]:
    if isinstance(device, Host):
        return {estimate.stage: estimate.seconds for estimate in forecast(plan, device)}
    return {stage.stage: plan.hours(stage, device) * HOUR for stage in plan.stages}


def _precisions_on(plan: Plan, device: Device) -> str:
    teaching, training = plan.teaching_on(device), plan.training_on(device)
    return teaching if teaching == training else f"{teaching}, training {training}"


def _precision(plan: Plan, stage: StagePlan) -> str:
    config = plan.quantities.config
    if stage.trains:
        return config.training.compute_dtype
    return config.teacher.dtype if stage.flops or stage.stage == "teacher" else ""


def _precision_sentence(plan: Plan) -> str:
    config = plan.quantities.config
    return (
        f"Precision: the teacher in {config.teacher.dtype}, training in "
        f"{config.training.compute_dtype}, coarse rounds of k-means in "
        f"{config.senses.coarse_dtype}; bytes are those of these, and on each device auto is what "
        "it multiplies natively."
    )


def scaling_rows(plan: Plan, device: Device, counts: Sequence[int]) -> list[dict[str, str]]:
    """Return one row a stage, one column a number of GPUs, and the sums."""
    by_count = {
        n: {time.stage: time for time in stage_times(plan, Cluster(device, n))} for n in counts
    }
    rows = [
        {"time of": stage}
        | {_gpus(n): f"{in_time(t[stage].seconds)} ({t[stage].bound})" for n, t in by_count.items()}
        for stage in by_count[counts[0]]
    ]
    sums = {n: sum(time.seconds for time in times.values()) for n, times in by_count.items()}
    return [*rows, {"time of": "all"} | {_gpus(n): in_time(s) for n, s in sums.items()}]


def _gpus(n: int) -> str:
    return f"{n:,} GPU" if n == 1 else f"{n:,} GPUs"


def size_rows(plan: Plan) -> list[dict[str, str]]:
    """Return the sizes a paper would state."""
    sizes, quantities = plan.sizes, plan.quantities
    cap = quantities.config.embeddings.max_occurrences
    return [
        {"what": name, "value": value}
        for name, value in (
            ("tokens covered", f"{sizes['tokens_covered']:,}"),
            (f"embeddings, {cap:,} of each", _size(sizes["embeddings_at_the_cap_bytes"])),
            ("embeddings expected to be used", _size(sizes["embeddings_used_bytes"])),
            ("dictionary", _size(sizes["dictionary_bytes"])),
            ("teacher", f"{sizes['teacher_parameters'] / 1e9:.3g} B parameters"),
            ("student", f"{sizes['student_parameters'] / 1e9:.3g} B parameters"),
            ("of which train", f"{sizes['trainable_parameters'] / 1e9:.2g} B"),
        )
    ]


def sentences(plan: Plan, devices: Sequence[Device]) -> list[str]:
    """Return what the numbers rest on, and what stored activations save."""
    quantities = plan.quantities
    spent = ", ".join(f"{in_time(plan.cached_saving(d) * HOUR)} on {d.name}" for d in devices)
    if plan.cached:
        saving = f"Stored activations save, in each further epoch, seed or arm: {spent}."
    else:
        saving = (
            f"Online: each epoch of each student pays one teacher pass, {spent}; "
            "stored activations would save all but the first."
        )
    told = [stage for stage in plan.stages if stage.note and stage.stage != "corpus"]
    notes = [f"{stage.stage}: {stage.note}" for stage in told]
    return [
        f"Sizes of the teacher: {quantities.teacher.origin}.",
        f"Corpus: {quantities.corpus.n_tokens:,} tokens, {quantities.corpus.basis}.",
        f"Occurrences: {quantities.census.basis}.",
        _precision_sentence(plan),
        *(f"{note[0].upper()}{note[1:]}." for note in notes),
        saving,
        *_unplanned(plan),
        *_refused_layers(plan),
        *_refused_recipes(plan),
        *_shard_sentences(plan, devices),
        "Times: " + "; ".join(_rate(device) for device in devices) + "; writing at "
        f"{STORE_BYTES_PER_SECOND / 1e6:.0f} MB/s. K-means is taken to need "
        f"{KMEANS_ITERATIONS} iterations. Lexicon, relations and words need minutes and no "
        "GPU; only their time on this machine is said.",
    ]


def _unplanned(plan: Plan) -> list[str]:
    if not plan.quantities.config.prompts.sources:
        return []
    return [
        "Prompts are not planned: how many tokens they have is known once they are read; students "
        "are planned on the corpus."
    ]


def _refused_layers(plan: Plan) -> list[str]:
    """Say where a run would refuse the student's layers, as far as settings tell."""
    teacher, layers = plan.quantities.teacher, plan.quantities.shape.layers
    why = "" if teacher.config is None else why_refused(teacher.config, layers)
    if not why:
        return []
    return [
        f"A run is expected to refuse the student's layers {list(layers)}, since they would not "
        f"compute what the teacher's do: {why}; choose other student.layers, or another teacher."
    ]


def _refused_recipes(plan: Plan) -> list[str]:
    """Say where a run would refuse a recipe, since it needs a gap between the student's layers."""
    try:
        check_gap(plan.quantities.config.training, plan.quantities.shape)
    except ConfigError as error:
        return [f"A run is expected to refuse a recipe. {error}"]
    return []


def _shard_sentences(plan: Plan, devices: Sequence[Device]) -> list[str]:
    """Return how long the shards of every stage take, and which should be longer."""
    cut = [stage for stage in plan.stages if stage.stage in _CURES and stage.n_shards > 1]
    return [
        *(f"Shards of {stage.stage}: {_shard_times(plan, stage, devices)}." for stage in cut),
        *(
            f"The {stage.n_shards:,} shards of {stage.stage} are {' and '.join(faults)}: "
            f"{_CURES[stage.stage]}."
            for stage in cut
            if (faults := _shard_faults(plan, stage, devices))
        ),
    ]


def _shard_times(plan: Plan, stage: StagePlan, devices: Sequence[Device]) -> str:
    return ", ".join(f"{plan.shard_seconds(stage, d):,.3g} s on {d.name}" for d in devices)


def _shard_faults(plan: Plan, stage: StagePlan, devices: Sequence[Device]) -> list[str]:
    brief = [d.name for d in devices if plan.shard_seconds(stage, d) < MIN_SHARD_SECONDS]
    faults = [f"more than {MAX_SHARDS:,}"] if stage.n_shards > MAX_SHARDS else []
    if brief and stage.n_shards > FEW_SHARDS:
        faults.append(f"under {MIN_SHARD_SECONDS:.0f} s on {', '.join(brief)}")
    return faults


def _rate(device: Device) -> str:
    if isinstance(device, Host):
        return f"{device.name}, {device.measured()}"
    return f"{device.name} at {device.utilisation:.0%} of {device.flops / 1e12:.3g} TFLOPS"


def _count(number: int) -> str:
    return f"{number:,}" if number else "-"


def in_time(seconds: float) -> str:
    """Write a duration in seconds, minutes or hours.

    >>> in_time(0.2), in_time(21.4), in_time(650), in_time(9000)
    ('<1 s', '21 s', '11 min', '2.5 h')
    """
    if seconds < 1:
        return "<1 s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.2g} min" if seconds < HOUR else f"{seconds / HOUR:,.3g} h"


def _size(n_bytes: float) -> str:
    return in_bytes(n_bytes) if n_bytes else "-"
