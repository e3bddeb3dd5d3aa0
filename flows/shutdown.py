"""The end of a process that was told to end: its tasks save, Prefect is told, the process is gone.

Told by SIGTERM, Ctrl-C or a terminal that closes (SIGHUP); told a second time, it ends at once.

Prefect reports the end of every flow run, from the innermost out, and asks a server that does not
answer again and again: minutes for each, in which the process looks deaf. So a silent server is not
waited for.
"""

import contextlib
import logging
import os
import signal
import stat
import threading
import time
import urllib.request
from collections.abc import Callable
from types import FrameType

TASK_SECONDS = 5.0
"""How long tasks are waited for that lose what they are at anyway: a teacher being loaded."""
SAVING_SECONDS = 60.0
REPORTING_SECONDS = 10.0
"""How long a silent server is borne: while tasks still end and save, and when they have."""

_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
_ECHO_SECONDS = 1.0
"""A closed terminal, or a group that is signalled after its leader, tells the same thing twice."""

_log = logging.getLogger("prefect.shutdown")


class ServerWatch(threading.Thread):
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
        super().__init__(name="server watch", daemon=True)
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


def watch_server(api_url: str, number: int) -> ServerWatch:
    """Begin to watch the server at ``api_url``, which is told that signal ``number`` ends us."""

    def end() -> None:
        # The main thread is asleep inside Prefect, and no other may set a handler of signals; so
        # not by the signal itself, but with the exit code that a shell gives it.
        logging.shutdown()
        os._exit(128 + number)

    watch = ServerWatch(lambda: is_ready(api_url), end)
    watch.start()
    return watch


def is_ready(api_url: str) -> bool:
    """Say whether a server, and its database behind it, answers at once."""
    try:
        with urllib.request.urlopen(f"{api_url.rstrip('/')}/ready", timeout=3):
            return True
    except OSError:
        return False


def end_at_second_signal(is_over: Callable[[], bool]) -> None:
    """Let the next signal end this process at once; call it when the first has come.

    Args:
        is_over: whether the process has ended its work and goes on with something else, such as a
            notebook; then signals mean again what they meant before.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    told = time.monotonic()
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def end(number: int, frame: FrameType | None) -> None:
        if time.monotonic() - told > _ECHO_SECONDS:
            signal.signal(number, before[signal.Signals(number)] if is_over() else signal.SIG_DFL)
            signal.raise_signal(number)

    for number, handler in before.items():
        if handler not in (signal.SIG_IGN, None):
            signal.signal(number, end)


def end_at_hang_up() -> None:
    """Treat SIGHUP as SIGTERM is treated when it comes, unless somebody has decided otherwise."""
    with contextlib.suppress(ValueError):  # not the main thread
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            signal.signal(signal.SIGHUP, _hang_up)


def _hang_up(number: int, frame: FrameType | None) -> None:
    _leave_terminal()
    handler = signal.getsignal(signal.SIGTERM)
    if callable(handler):
        handler(number, frame)  # Prefect's, in a flow; it ends with the signal it got
        return
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def _leave_terminal() -> None:
    """Write to nowhere instead of a terminal that is gone: every line would be an error."""
    for output in (1, 2):
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(output).st_mode) and not os.isatty(output):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, output)
                os.close(nowhere)
