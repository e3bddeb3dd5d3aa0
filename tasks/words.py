"""The words of the relations, spelled in the teacher's tokens."""

from dskd_core.config import PipelineConfig
from tasks.artifacts import opened, shown, store_of
from tasks.policy import cpu_task


@cpu_task(name="words", task_run_name="words")
def words(config: PipelineConfig, relations: str, teacher: str) -> str:
    """Spell every word with the teacher's tokenizer; return the words' URI."""
    from dskd_core.words.store import build_words

    return shown(
        "words",
        lambda progress: build_words(
            store_of(config), config.words, opened(relations), opened(teacher), progress=progress
        ),
    )
