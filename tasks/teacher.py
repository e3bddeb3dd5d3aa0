"""The teacher, brought into a plain transformers folder."""

from dskd_core.config import PipelineConfig
from tasks.artifacts import shown, store_of
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
