"""The teacher's activations once, then one student per arm and seed."""

from prefect import task

from dskd_core.config import PipelineConfig
from dskd_core.shards import Shard
from tasks.artifacts import opened, shown, shown_shard, store_of
from tasks.policy import GPU


def shards_of(config: PipelineConfig, corpus: str) -> list[Shard]:
    """Return the shards the training windows are captured in."""
    from dskd_core.training.activations import capture_shards

    return capture_shards(opened(corpus), config.training)


@task(name="activations", task_run_name="activations shard {shard.name}", **GPU)
def capture(
    config: PipelineConfig, teacher: str, corpus: str, dictionary: str, shard: Shard
) -> str:
    """Keep what training needs of the teacher over one shard; return the shard's URI."""
    from dskd_core.training.activations import capture_shard

    return shown_shard(
        f"activations shard {shard.name}",
        lambda progress: capture_shard(
            store_of(config),
            config.training,
            config.student,
            config.teacher,
            opened(teacher),
            opened(corpus),
            opened(dictionary),
            shard,
            progress=progress,
        ),
    )


@task(name="activations", task_run_name="activations", **GPU)
def collect(
    config: PipelineConfig, teacher: str, corpus: str, dictionary: str, parts: list[str]
) -> str:
    """Collect the shards; return the activations' URI."""
    from dskd_core.training.activations import collect_activations

    shards = [opened(part) for part in parts]
    return shown(
        "activations",
        lambda _: collect_activations(
            store_of(config),
            config.training,
            config.student,
            opened(teacher),
            opened(corpus),
            opened(dictionary),
            shards,
        ),
        parts=shards,
    )


@task(name="student", task_run_name="student {arm} seed {seed}", **GPU)
def student(
    config: PipelineConfig, teacher: str, dictionary: str, activations: str, arm: str, seed: int
) -> str:
    """Distil one student (Eq. 3-5); return its URI."""
    from dskd_core.training.loop import train_student

    return shown(
        f"student {arm} seed {seed}",
        lambda progress: train_student(
            store_of(config),
            config.training,
            config.student,
            config.teacher,
            opened(teacher),
            opened(dictionary),
            opened(activations),
            arm=arm,
            seed=seed,
            progress=progress,
        ),
    )
