"""A plan: every stage's sizes, the hours they take on named devices, and what does not fit."""

from dataclasses import dataclass
from pathlib import Path

from dskd_core.config import PipelineConfig
from dskd_core.corpus.readers import is_dataset
from dskd_core.decoder.precision import Precision
from dskd_core.errors import CapacityError, ConfigError
from dskd_core.planning import stages
from dskd_core.planning.architecture import read_architecture
from dskd_core.planning.census import Corpus, census_of, estimated
from dskd_core.planning.hours.hardware import Device
from dskd_core.planning.hours.precisions import precision_on, resolved_for
from dskd_core.planning.known import find_known
from dskd_core.planning.quantities import (
    PAPER_COMPOSED_WORDS,
    Quantities,
    StagePlan,
    online_flops,
    state_row_bytes,
)
from dskd_core.store.artifacts import ArtifactStore
from dskd_core.training.activations.store import mode_within_budget

STORE_BYTES_PER_SECOND = 400e6
"""What Zarr writes on a plain disk; measured 311 to 431 MB/s without a codec."""
HOUR = 3600.0
MIN_SHARD_SECONDS = 40.0
"""Handing out and reporting a shard takes some 0.8 s (two cores, SQLite, GPU slots): of shorter
ones more than 2 %; ``python -m benchmarks.orchestration`` measures it."""
FEW_SHARDS = 60
"""So many are handed out within a minute, however short they are."""
MAX_SHARDS = 2000
"""More tasks than this make one flow run slow to store, to show and to retry."""


@dataclass(frozen=True)
class Plan:
    """All stages of a configuration, planned.

    Attributes:
        quantities: what the plan rests on; its settings name their precisions.
        asked: the settings as they were given, whose precisions may be ``auto``.
        cached: whether students train from stored activations.
        stages: in the order in which they run; the right branch needs no plan.
    """

    quantities: Quantities
    asked: PipelineConfig
    cached: bool
    stages: tuple[StagePlan, ...]

    @property
    def stored_bytes(self) -> int:
        """Bytes of all artifacts together."""
        return sum(stage.stored_bytes for stage in self.stages)

    def hours(self, stage: StagePlan, device: Device) -> float:
        """Return the hours of a stage on one device: arithmetic, and then writing."""
        precision = self.training_on(device) if stage.trains else self.teaching_on(device)
        seconds = device.seconds(stage.flops, stage.float32_flops, stage.moved_bytes, precision)
        return (seconds + stage.stored_bytes / STORE_BYTES_PER_SECOND) / HOUR

    def teaching_on(self, device: Device) -> Precision:
        """Return the precision of the teacher's products on a device."""
        return precision_on(device, self.asked.teacher.dtype, trains=False)

    def training_on(self, device: Device) -> Precision:
        """Return the precision of training's products on a device."""
        return precision_on(device, self.asked.training.compute_dtype, trains=True)

    def shard_seconds(self, stage: StagePlan, device: Device) -> float:
        """Return the seconds of one of a stage's shards on one device."""
        return self.hours(stage, device) * HOUR / stage.n_shards

    def cached_saving(self, device: Device) -> float:
        """Return the hours that stored activations save in each further epoch, seed or arm.

        It is one teacher pass over the training text, which online training repeats.
        """
        flops = online_flops(self.quantities, self.quantities.n_training_positions)
        return device.seconds(flops, 0.0, 0.0, self.teaching_on(device)) / HOUR

    @property
    def sizes(self) -> dict[str, float]:
        """The numbers a paper would state, in tokens, bytes and parameters."""
        quantities, config = self.quantities, self.quantities.config
        covered = quantities.census.n_covered
        cap, row = config.embeddings.max_occurrences, state_row_bytes(quantities)
        return {
            "tokens_covered": covered,
            "embeddings_at_the_cap_bytes": covered * cap * (row - 16),
            "embeddings_used_bytes": quantities.census.rows(cap) * row,
            "dictionary_bytes": next(
                s for s in self.stages if s.stage == "dictionary"
            ).stored_bytes,
            "teacher_parameters": quantities.teacher.parameters(),
            "student_parameters": quantities.n_student_parameters,
            "trainable_parameters": quantities.n_trained_parameters,
        }


def make_plan(
    config: PipelineConfig,
    *,
    n_tokens: int | None = None,
    count: bool = False,
    config_json: Path | None = None,
    device: Device | None = None,
) -> Plan:
    """Plan a configuration; nothing is run, written or downloaded but the teacher's config.json.

    ``n_tokens`` are needed of a corpus that is neither built nor a local file; counting one takes
    as long as the corpus stage. ``auto`` is the precision of the device, this machine's if None.

    Raises:
        ConfigError: if the teacher's sizes, or those of the corpus, cannot be known, or this
            machine cannot compute in a precision that was asked for.
        CapacityError: if ``training.mode`` is cached and the activations exceed their budget.
    """
    asked, config = config, resolved_for(config, device)
    teacher = read_architecture(config.teacher, config_json)
    found = find_known(ArtifactStore(config.root_uri), config, count=count)
    corpus = found.corpus or estimated(config.corpus, n_tokens, found.n_prefix)
    census = found.census or census_of(corpus, config.embeddings, teacher.n_vocabulary)
    n_composed = PAPER_COMPOSED_WORDS if found.n_composed is None else found.n_composed
    basis = "as in the paper's dictionaries" if found.n_composed is None else "counted"
    others = _other_texts(config, found.n_prefix)
    quantities = Quantities(
        config, teacher, corpus, census, n_composed, basis, found.n_shard_rows, others
    )
    cached = _is_cached(quantities)
    return Plan(
        quantities,
        asked,
        cached,
        (
            stages.teacher(quantities),
            stages.corpus(quantities),
            stages.embeddings(quantities),
            stages.senses(quantities),
            stages.dictionary(quantities),
            stages.untrained_student(quantities),
            stages.activations(quantities, cached=cached),
            stages.candidates(quantities, cached=cached),
            stages.students(quantities, cached=cached),
        ),
    )


def _other_texts(config: PipelineConfig, n_prefix: int) -> dict[str, Corpus]:
    """Return the sizes of text of other domains, from its bytes or the limit it has.

    Raises:
        ConfigError: if neither is known.
    """
    sizes = {}
    for text in config.evaluation.other_texts:
        asked = text.corpus(config.corpus.window_tokens)
        if text.max_tokens is None and is_dataset(asked):
            raise ConfigError(
                f"Nobody knows how many tokens {text.source!r} has before it is read; set "
                f"max_tokens of evaluation.other_texts {text.name!r}."
            )
        sizes[text.name] = estimated(asked, None, n_prefix)
    return sizes


def misfits(
    plan: Plan,
    *,
    device: Device | None = None,
    memory_bytes: int | None = None,
    disk_bytes: int | None = None,
) -> list[str]:
    """Return what does not fit, a sentence each with the setting to change.

    The memory is a worker's; a device that shares the host's adds to it.
    """
    found = []
    shared = device is not None and device.shares_host
    for stage in plan.stages:
        host = stage.host_bytes + (stage.device_bytes if shared else 0)
        if memory_bytes is not None and host > memory_bytes:
            found.append(
                f"{stage.stage} needs {_giga(host)} of memory, more than {_giga(memory_bytes)}: "
                f"{_cure(stage.host_setting)}"
            )
        if device is not None and not shared and stage.device_bytes > device.memory_bytes:
            lowered = stage.device_setting if stage.fixed_bytes < device.memory_bytes else ""
            found.append(
                f"{stage.stage} needs {_giga(stage.device_bytes)} on {device.name}, more than its "
                f"{_giga(device.memory_bytes)}: {_cure(lowered)}"
            )
    needed = plan.stored_bytes + max(stage.transient_bytes for stage in plan.stages)
    if disk_bytes is not None and needed > disk_bytes:
        largest = max(plan.stages, key=lambda stage: stage.stored_bytes)
        found.append(
            f"All artifacts take {_giga(needed)}, more than {_giga(disk_bytes)}; most of it is "
            f"{largest.stage} ({_giga(largest.stored_bytes)}): {_cure(largest.disk_setting)}"
        )
    return found


def check(plan: Plan, found: list[str]) -> None:
    """Refuse a plan that does not fit.

    Raises:
        CapacityError: naming everything that does not.
    """
    if found:
        name = plan.quantities.config.teacher.source
        raise CapacityError(f"The plan for {name} does not fit. " + ". ".join(found) + ".")


def _is_cached(quantities: Quantities) -> bool:
    """Say whether students train from stored activations.

    Raises:
        CapacityError: if that was asked for and they exceed their budget.
    """
    config = quantities.config.training
    if config.mode in ("online", "precomputed"):
        return config.mode == "precomputed"
    n_positions = quantities.n_training_positions + quantities.n_heldout_positions
    return mode_within_budget(config, n_positions, quantities.teacher.hidden_size) == "cached"


def _cure(setting: str) -> str:
    return f"lower {setting}" if setting else "choose a larger one, no setting lowers it enough"


def _giga(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:,.3g} GB"
