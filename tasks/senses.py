"""Each token's embeddings to its senses, range by range of tokens."""

from dskd_core.config import PipelineConfig
from dskd_core.shards import Shard
from tasks.artifacts import opened, shown, shown_shard, store_of
from tasks.policy import gpu_task


def ranges_of(config: PipelineConfig, embeddings: str) -> list[Shard]:
    """Return the ranges of tokens that are clustered together."""
    from dskd_core.senses.store import plan_ranges

    return plan_ranges(opened(embeddings), store_of(config), config.senses)


@gpu_task(name="senses", task_run_name="senses shard {shard.name}")
def cluster(config: PipelineConfig, embeddings: str, corpus: str, shard: Shard) -> str:
    """Cluster the embeddings of one range of tokens; return the shard's URI."""
    from dskd_core.senses.store import cluster_range

    return shown_shard(
        f"senses shard {shard.name}",
        lambda progress: cluster_range(
            store_of(config),
            config.senses,
            opened(embeddings),
            opened(corpus),
            shard,
            progress=progress,
        ),
    )


@gpu_task(name="senses", task_run_name="senses")
def collect(
    config: PipelineConfig, embeddings: str, corpus: str, teacher: str, parts: list[str]
) -> str:
    """Collect the shards into the sense inventory; return its URI."""
    from dskd_core.senses.store import collect_senses

    shards = [opened(part) for part in parts]
    return shown(
        "senses",
        lambda progress: collect_senses(
            store_of(config),
            config.senses,
            opened(embeddings),
            opened(corpus),
            opened(teacher),
            shards,
            progress=progress,
        ),
        parts=shards,
    )
