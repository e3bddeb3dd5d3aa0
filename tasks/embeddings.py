"""The teacher, and its final states shard by shard."""

from dskd_core.config import PipelineConfig
from dskd_core.shards import Shard
from tasks.artifacts import opened, shown, shown_shard, store_of
from tasks.policy import gpu_task


@gpu_task(name="teacher", task_run_name="teacher {config.teacher.source}")
def teacher(config: PipelineConfig) -> str:
    """Bring the teacher into a plain transformers folder; return its URI."""
    # transformers puts a lazy module in its own place while it is first imported. Tasks that wait
    # for this one start together, and of two threads importing it at once one gets the wrong one.
    import transformers  # noqa: F401

    from dskd_core.embeddings.teacher import prepare_teacher

    return shown(
        "teacher",
        lambda progress: prepare_teacher(store_of(config), config.teacher, progress=progress),
    )


def shards_of(config: PipelineConfig, corpus: str) -> list[Shard]:
    """Return the shards the corpus is read in."""
    from dskd_core.embeddings.store import plan_shards

    return plan_shards(opened(corpus), config.embeddings)


@gpu_task(name="embeddings", task_run_name="embeddings shard {shard.name}")
def extract(config: PipelineConfig, teacher: str, corpus: str, shard: Shard) -> str:
    """Read the teacher's states over one shard of the corpus; return the shard's URI."""
    from dskd_core.embeddings.store import extract_shard

    return shown_shard(
        f"embeddings shard {shard.name}",
        lambda progress: extract_shard(
            store_of(config),
            config.embeddings,
            config.teacher,
            opened(teacher),
            opened(corpus),
            shard,
            progress=progress,
        ),
    )


@gpu_task(name="embeddings", task_run_name="embeddings")
def collect(config: PipelineConfig, teacher: str, corpus: str, parts: list[str]) -> str:
    """Collect the shards, grouped by token; return the embeddings' URI."""
    from dskd_core.embeddings.store import collect_embeddings

    shards = [opened(part) for part in parts]
    return shown(
        "embeddings",
        lambda _: collect_embeddings(
            store_of(config),
            config.embeddings,
            opened(teacher),
            opened(corpus),
            shards,
        ),
        parts=shards,
    )
