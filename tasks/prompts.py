"""Benchmark questions, written as chat prompts."""

from dskd_core.config import PipelineConfig
from tasks.artifacts import opened, shown, store_of
from tasks.policy import cpu_task


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
