"""The tasks of the stages that are made in shards: one makes a shard, one collects them all."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from prefect import Task

from dskd_core.config import PipelineConfig
from dskd_core.sharded_stages import SHARDED_STAGES, ShardedStage
from dskd_core.shards import Shard
from tasks.artifacts import opened, shown, shown_shard, store_of
from tasks.policy import cpu_task, gpu_task

Uris = Mapping[str, str]
"""The URIs of what a stage is made from, by the names in its ``needs``."""


class StageTasks(NamedTuple):
    """What Prefect runs of one stage.

    Attributes:
        stage: its description.
        make: makes one shard; returns its URI.
        collect: joins all shards; returns the URI of the stage's artifact.
    """

    stage: type[ShardedStage]
    make: Task[[PipelineConfig, Uris, Shard], str]
    collect: Task[[PipelineConfig, Uris, list[str]], str]

    def shards(self, config: PipelineConfig, uris: Uris) -> list[Shard]:
        """List the shards, in the process of the flow."""
        return described(self.stage, config, uris).shards()


def described(stage: type[ShardedStage], config: PipelineConfig, uris: Uris) -> ShardedStage:
    """Return a stage of a run, its inputs opened."""
    inputs = {name: opened(uris[name]) for name in stage.needs}
    return stage(store_of(config), config, inputs)


def _tasks_of(stage: type[ShardedStage]) -> StageTasks:
    @gpu_task(name=stage.name, task_run_name=f"{stage.name} shard {{shard.name}}")
    def make(config: PipelineConfig, uris: Uris, shard: Shard) -> str:
        return shown_shard(
            f"{stage.name} shard {shard.name}",
            lambda progress: described(stage, config, uris).make(shard, progress),
            writes_beside=stage.writes_beside,
        )

    @cpu_task(name=stage.name, task_run_name=stage.name)
    def collect(config: PipelineConfig, uris: Uris, made: list[str]) -> str:
        shards: list[Any] = [opened(uri) for uri in made]
        return shown(
            stage.name,
            lambda progress: described(stage, config, uris).collect(shards, progress),
            shards=shards,
        )

    return StageTasks(stage, make, collect)


TASKS: Mapping[str, StageTasks] = {
    stage.name: _tasks_of(stage) for stage in SHARDED_STAGES if not stage.in_one_task
}
"""The tasks of every stage whose shards go to workers, by its name."""
