"""Benchmark questions as chat prompts, and the teacher's answers shard by shard."""

from dskd_core.config import PipelineConfig
from dskd_core.shards import Shard
from tasks.artifacts import opened, shown, shown_shard, store_of
from tasks.policy import cpu_task, gpu_task


@cpu_task(name="questions", task_run_name="questions")
def questions(config: PipelineConfig, teacher: str) -> str:
    """Write the sampled questions as prompts; return the questions' URI."""
    from dskd_core.prompts.store import build_questions

    return shown(
        "questions",
        lambda progress: build_questions(
            store_of(config), config.prompts, opened(teacher), progress=progress
        ),
    )


def shards_of(config: PipelineConfig, questions: str) -> list[Shard]:
    """Return the shards the prompts are answered in."""
    from dskd_core.prompts.store import plan_prompts

    return plan_prompts(opened(questions), config.prompts)


@gpu_task(name="prompts", task_run_name="prompts shard {shard.name}")
def answer(config: PipelineConfig, teacher: str, questions: str, shard: Shard) -> str:
    """Let the teacher answer one shard of the prompts; return the shard's URI."""
    from dskd_core.prompts.store import answer_shard

    return shown_shard(
        f"prompts shard {shard.name}",
        lambda progress: answer_shard(
            store_of(config),
            config.prompts,
            config.teacher,
            opened(teacher),
            opened(questions),
            shard,
            progress=progress,
        ),
    )


@cpu_task(name="prompts", task_run_name="prompts")
def collect(config: PipelineConfig, teacher: str, questions: str, parts: list[str]) -> str:
    """Join prompts and answers into windows; return the prompts' URI."""
    from dskd_core.prompts.store import collect_prompts

    shards = [opened(part) for part in parts]
    return shown(
        "prompts",
        lambda _: collect_prompts(
            store_of(config), config.prompts, opened(teacher), opened(questions), shards
        ),
        parts=shards,
    )
