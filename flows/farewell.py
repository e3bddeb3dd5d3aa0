"""The end of a process that was told to end: it tells Prefect, but waits for no dead server.

Prefect reports the end of every flow run, from the innermost out, and asks a server that does not
answer again and again: minutes for each, in which the process looks deaf. Prefect's temporary
server is gone for sure when a signal goes to all processes of a terminal or a service.
"""

import logging
import os
import signal
import threading
import time
import urllib.request
from collections.abc import Callable

SAVING_SECONDS = 60.0
REPORTING_SECONDS = 10.0
"""How long a silent server is borne: while tasks still end and save, and when they have."""

_log = logging.getLogger("prefect.farewell")


class Farewell(threading.Thread):
    """Ends this process when the server has been silent for too long, and only then.

    Args:
        answers: says whether the server does.
        end: ends the process.
        saving_seconds, reporting_seconds: patience before and after :meth:`saved`.
    """

    def __init__(
        self,
        answers: Callable[[], bool],
        end: Callable[[], None],
        *,
        saving_seconds: float = SAVING_SECONDS,
        reporting_seconds: float = REPORTING_SECONDS,
    ) -> None:
        super().__init__(name="farewell", daemon=True)
        self._answers, self._end = answers, end
        self._saving, self._reporting = saving_seconds, reporting_seconds
        self._saved: float | None = None

    def saved(self) -> None:
        """Note that no task works any more: what is left is to tell Prefect."""
        self._saved = time.monotonic()

    def run(self) -> None:
        """Ask until the server was silent for too long, or had the time to be told."""
        heard = time.monotonic()
        while True:
            answered, now = self._answers(), time.monotonic()
            heard = now if answered else heard
            patience = self._saving if self._saved is None else self._reporting
            if now - heard > patience:
                _log.warning("No answer from the server for %.0f s: ending without it.", patience)
                return self._end()
            if answered and self._saved is not None and now - self._saved > self._reporting:
                return None
            time.sleep(self._reporting / 10)


def farewell(api_url: str) -> Farewell:
    """Begin to watch the server at ``api_url``, which the end of this process is reported to."""
    made = Farewell(lambda: is_ready(api_url), _end)
    made.start()
    return made


def is_ready(api_url: str) -> bool:
    """Say whether a server, and its database behind it, answers at once."""
    try:
        with urllib.request.urlopen(f"{api_url.rstrip('/')}/ready", timeout=3):
            return True
    except OSError:
        return False


def _end() -> None:
    # The main thread is asleep inside Prefect, and no other may set a handler of signals; so not
    # by the signal itself, but with the exit code that a shell gives it.
    logging.shutdown()
    os._exit(128 + signal.SIGTERM)
