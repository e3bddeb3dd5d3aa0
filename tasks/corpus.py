"""Documents to token windows."""

from dskd_core.config import PipelineConfig
from tasks.artifacts import opened, shown, store_of
from tasks.policy import cpu_task


@cpu_task(name="corpus", task_run_name="corpus")
def corpus(config: PipelineConfig, teacher: str) -> str:
    """Cut the documents into windows of the teacher's tokens; return the corpus' URI."""
    from dskd_core.corpus.store import build_corpus

    return shown(
        "corpus",
        lambda progress: build_corpus(
            store_of(config), config.corpus, opened(teacher), progress=progress
        ),
    )
