"""What all flows share: their default settings, and the threads their tasks run in."""

from typing import Any

from prefect.task_runners import ThreadPoolTaskRunner

from dskd_core.config import PipelineConfig

DEFAULTS = PipelineConfig()
Made = dict[str, Any]
"""Stage -> URI of its artifact; a list of URIs for students and scores."""


def threads() -> ThreadPoolTaskRunner[Any]:
    """Return a pool of three threads: both branches, and a task that waits for both.

    More would not help: one device runs one teacher, and PyTorch uses all cores by itself.
    """
    return ThreadPoolTaskRunner(max_workers=3)
