"""The human sources to one table of word pairs."""

from dskd_core.config import PipelineConfig
from tasks.artifacts import shown, store_of
from tasks.policy import cpu_task


@cpu_task(name="lexicon", task_run_name="lexicon")
def lexicon(config: PipelineConfig) -> str:
    """Read the lexicons; return the URI of their pairs."""
    from dskd_core.lexicon.store import build_lexicon

    return shown(
        "lexicon",
        lambda progress: build_lexicon(store_of(config), config.lexicon, progress=progress),
    )
