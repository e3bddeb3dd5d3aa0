"""Tasks in threads of the flow's own process."""

import signal
import threading
import time
from typing import Any

from prefect import get_client
from prefect.exceptions import TerminationSignal
from prefect.task_runners import ThreadPoolTaskRunner

from dskd_core import interruption
from flows import shutdown


class StoppableThreads(ThreadPoolTaskRunner[Any]):
    """Threads that end at their next safe place when the flow is told to end.

    Prefect turns SIGTERM (``docker stop``, a worker's cancel), Ctrl-C and, by shutdown.py, SIGHUP
    into an exception in the main thread, closes the task runner, which waits for its threads, and
    then ends the run as crashed or cancelled. So a step in training is finished and saved while
    Prefect waits. What has nothing to save is soon left behind, and whoever is in a hurry sends the
    signal again. Where no server hears of the end, the process ends without.
    """

    n_slots = 1

    def __enter__(self) -> "StoppableThreads":
        """Begin; what an earlier run of this process was told does not count."""
        interruption.clear()
        super().__enter__()
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        """End: tell the threads to stop, if the flow was told so, and wait for them.

        Raises:
            TerminationSignal: after Ctrl-C, if a task did not stop: Python would wait for it.
        """
        if not is_told_to_end(exc_value):
            return super().__exit__(exc_type, exc_value, traceback)
        interruption.request()
        number = exc_value.signal if isinstance(exc_value, TerminationSignal) else signal.SIGINT
        watch = shutdown.watch_server(str(get_client(sync_client=True).api_url), number)
        shutdown.end_at_second_signal(lambda: not watch.is_alive())
        end = super().__exit__
        closing = threading.Thread(target=end, args=(exc_type, exc_value, traceback), daemon=True)
        closing.start()
        deadline = time.monotonic() + shutdown.TASK_SECONDS
        while closing.is_alive() and (interruption.is_finishing() or time.monotonic() < deadline):
            closing.join(0.1)
        watch.saved()
        if closing.is_alive() and isinstance(exc_value, KeyboardInterrupt):
            raise TerminationSignal(signal=number) from exc_value
        return None


def is_told_to_end(error: BaseException | None) -> bool:
    """Say whether this is what Prefect makes of SIGTERM, SIGHUP or Ctrl-C."""
    return isinstance(error, TerminationSignal | KeyboardInterrupt)
