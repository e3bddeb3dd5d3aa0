"""What all flows share: their default settings, and the threads their tasks run in."""

from typing import Any

from prefect.exceptions import TerminationSignal
from prefect.task_runners import ThreadPoolTaskRunner

from dskd_core.config import PipelineConfig
from dskd_core.training import interruption

DEFAULTS = PipelineConfig()
Made = dict[str, Any]
"""Stage -> URI of its artifact; a list of URIs for students and scores."""


class StoppableThreads(ThreadPoolTaskRunner[Any]):
    """Threads that end at their next safe place when the flow is told to end.

    Prefect turns SIGTERM (``docker stop``, a worker's cancel) and Ctrl-C into an exception in the
    main thread, closes the task runner, which waits for its threads, and then ends the run as
    crashed or cancelled. So a step in training is finished and saved while Prefect waits; whoever
    is in a hurry sends the signal again.
    """

    def __enter__(self) -> "StoppableThreads":
        """Begin; what an earlier run of this process was told does not count."""
        interruption.clear()
        super().__enter__()
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        """End: tell the threads to stop, if the flow was told so, and wait for them."""
        if isinstance(exc_value, TerminationSignal | KeyboardInterrupt):
            interruption.request()
        super().__exit__(exc_type, exc_value, traceback)


def threads() -> StoppableThreads:
    """Return a pool of three threads: both branches, and a task that waits for both.

    More would not help: one device runs one teacher, and PyTorch uses all cores by itself.
    """
    return StoppableThreads(max_workers=3)
