"""Teacher and students on words whose senses or relations are known."""

from dskd_core.config import PipelineConfig, TaggedSourceConfig
from tasks.artifacts import opened, shown_on_gpu, store_of
from tasks.policy import gpu_task


def name_of(source: TaggedSourceConfig) -> str:
    """Return what reports call a source."""
    from dskd_core.evaluation.word_senses.store import name_of

    return name_of(source)


@gpu_task(name="sense-scores", task_run_name="{name}")
def score(config: PipelineConfig, name: str, number: int, dictionary: str, model: str) -> str:
    """Score one model on the ``number``-th tagged source; return the scores' URI."""
    from dskd_core.evaluation.word_senses.store import score_senses

    return shown_on_gpu(
        name,
        lambda progress: score_senses(
            store_of(config),
            config.evaluation.tagged[number],
            config.teacher,
            opened(dictionary),
            opened(model),
            progress=progress,
        ),
    )
