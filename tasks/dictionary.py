"""The join of senses and relations."""

from dskd_core.config import PipelineConfig
from tasks.artifacts import opened, shown, store_of
from tasks.policy import cpu_task


@cpu_task(name="dictionary", task_run_name="dictionary")
def dictionary(config: PipelineConfig, senses: str, words: str, corpus: str) -> str:
    """Compose words from senses and join the relations (Eq. 2); return the dictionary's URI."""
    from dskd_core.dictionary.store import build_dictionary

    return shown(
        "dictionary",
        lambda progress: build_dictionary(
            store_of(config),
            config.dictionary,
            opened(senses),
            opened(words),
            opened(corpus),
            progress=progress,
        ),
    )
