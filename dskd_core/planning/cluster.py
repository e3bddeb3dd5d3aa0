"""How long stages take on many GPUs, and what each of them then waits for.

A stage in shards is bound by its GPUs, by how finely it is cut (a GPU has a whole shard or none),
by the store all workers write to, or by Prefect's server, which hands out one task after another.
What one process does alone (reading the corpus, joining shards, composing words) takes as long
however many GPUs there are; only its tokenizer uses all cores of its machine. Nothing here was run
on a cluster: it is arithmetic, from the plan and from constants that were measured on two cores,
where the text of each says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from dskd_core.planning.hours.hardware import Device
from dskd_core.planning.hours.reading import corpus_seconds
from dskd_core.planning.plan import HOUR, STORE_BYTES_PER_SECOND, Plan
from dskd_core.planning.quantities import StagePlan, stored_embedding_rows
from dskd_core.sharded_stages import SHARDED_STAGES

Bound = Literal["GPUs", "shards", "store", "server", "one process"]

DISPATCH_SECONDS = 0.1
"""Of one core, for a task: what Prefect's server or the flow's process does for each, one after the
other; the larger of both. ``python -m benchmarks.scaling`` measures it."""
TASK_SECONDS = 0.8
"""That a worker waits between two shards: measured with GPU slots on SQLite, see plan.py."""
SHARED_STORE_BYTES_PER_SECOND = 10e9
"""What all workers together write to one store; taken for an object store or a parallel file
system, not measured."""
INDEXED_ROWS_A_SECOND = 1.5e6
"""Rows of embeddings that one process orders by hash, to find the sample of all shards: 8 million
in 5.6 s of one busy core (AVX2)."""
JOINED_BYTES_A_SECOND = 115e6
"""Centroids that one process joins: 69,832 tokens of width 4,096, two each, in 20 s."""
_SHARDED = {stage.name for stage in SHARDED_STAGES if not stage.in_one_task} | {"students"}


@dataclass(frozen=True)
class Cluster:
    """GPUs of one kind, with a Prefect server and a store for all of them.

    Attributes:
        device: each GPU.
        n_gpus: how many.
        dispatch_seconds: for a task, of the server or of the flow's process.
        task_seconds: that a worker waits between two shards.
        store_bytes_per_second: what all workers together write; each alone writes no faster than
            ``plan.STORE_BYTES_PER_SECOND``.
        n_cores: of the machine that tokenizes the corpus; taken, a small one beside a GPU.
    """

    device: Device
    n_gpus: int
    dispatch_seconds: float = DISPATCH_SECONDS
    task_seconds: float = TASK_SECONDS
    store_bytes_per_second: float = SHARED_STORE_BYTES_PER_SECOND
    n_cores: int = 16

    def rate(self, n_writers: int) -> float:
        """Return the bytes a second that each of some writers writes."""
        return min(STORE_BYTES_PER_SECOND, self.store_bytes_per_second / n_writers)


@dataclass(frozen=True)
class StageTime:
    """How long a stage takes on a cluster, first task to last, and what takes most of that."""

    stage: str
    seconds: float
    bound: Bound


def stage_times(plan: Plan, cluster: Cluster) -> list[StageTime]:
    """Return the times of all stages that take any, in their order."""
    return list(_stage_times(plan, cluster))


def _stage_times(plan: Plan, cluster: Cluster) -> Iterator[StageTime]:
    for stage in plan.stages:
        if stage.stage in _SHARDED:
            yield _in_shards(plan, stage, cluster)
        elif seconds := _alone(plan, stage, cluster):
            yield StageTime(stage.stage, seconds, "one process")


def _in_shards(plan: Plan, stage: StagePlan, cluster: Cluster) -> StageTime:
    """Return the time of a stage in shards: rounds of as many as there are GPUs, and the join."""
    n, seconds = stage.n_shards, plan.hours(stage, cluster.device) * HOUR
    writing = stage.stored_bytes / STORE_BYTES_PER_SECOND
    rounds, n_busy = -(-n // cluster.n_gpus), min(n, cluster.n_gpus)
    computing = rounds * ((seconds - writing) / n + cluster.task_seconds)
    stored = rounds * stage.stored_bytes / n / cluster.rate(n_busy)
    parts: dict[Bound, float] = {
        "one process": _joined(plan, stage),
        "server": n * cluster.dispatch_seconds,
        "store": stored if cluster.rate(n_busy) < STORE_BYTES_PER_SECOND else 0.0,
        "shards" if rounds == 1 and cluster.n_gpus > n else "GPUs": computing,
    }
    working = max(computing + stored, parts["server"])
    return StageTime(
        stage.stage, working + parts["one process"], max(parts, key=lambda bound: parts[bound])
    )


def _joined(plan: Plan, stage: StagePlan) -> float:
    """Return the seconds of the process that joins a stage's shards."""
    quantities = plan.quantities
    if stage.stage == "embeddings":
        rows = stored_embedding_rows(
            quantities.census, quantities.config.embeddings, stage.n_shards
        )
        return rows / INDEXED_ROWS_A_SECOND
    if stage.stage == "senses":
        return stage.stored_bytes / 2 / JOINED_BYTES_A_SECOND  # the other half is the shards' own
    return 0.0


def _alone(plan: Plan, stage: StagePlan, cluster: Cluster) -> float:
    """Return the seconds of a stage that one process makes, reading its text included."""
    seconds = plan.hours(stage, cluster.device) * HOUR
    if stage.stage == "corpus":
        config, corpus = plan.quantities.config.corpus, plan.quantities.corpus
        return seconds + corpus_seconds(config, corpus.n_tokens, cluster.n_cores)
    return seconds
