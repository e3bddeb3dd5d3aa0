"""A stage that is made in shards, from its shards to its artifact."""

from collections.abc import Mapping

from dskd_core.config import PipelineConfig
from tasks.sharded import TASKS, Uris
from tasks.shards import in_slots


def make_sharded(
    config: PipelineConfig, stage: str, uris: Uris, done: Mapping[str, str] | None = None
) -> str:
    """Make the shards of a stage that are missing, and collect them all.

    Args:
        config: the settings of all stages.
        stage: its name, see ``dskd_core.sharded_stages``.
        uris: of what it is made from.
        done: URIs of shards known to be there, by name; they are not run.

    Returns:
        The URI of the stage's artifact.
    """
    tasks = TASKS[stage]
    calls = {
        f"{stage} shard {shard.name}": (config, uris, shard) for shard in tasks.shards(config, uris)
    }
    shards = in_slots(stage, tasks.make, calls, done, writes_beside=tasks.stage.writes_beside)
    return tasks.collect.submit(config, uris, shards).result()
