"""Prefect's temporary server: it is gone a few seconds after the process it was started for.

Prefect ends it when Python exits; a process that a signal ends, SIGKILL at the latest, never gets
there. So every such process has a watcher: this very file, run as a small process in a session of
its own, which outlives it by seconds and ends the servers whose environment has its process's mark.
Marks are random, so no number of a process is trusted that another may have been given since.
"""

import contextlib
import importlib
import logging
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil

MARK = "DSKD_SERVER_MARK"
"""The variable that a server inherits from the process that it was started for."""

_WATCHER = str(Path(__file__).resolve())
_APP = "prefect.server.api.server:create_app"
_POLL_SECONDS = 0.25
_GRACE_SECONDS = 4.0
_N_QUIET = 4
"""How often in a row the watcher must find no server: one may just be starting."""

_log = logging.getLogger("prefect.temporary_server")
_watched: dict[int, subprocess.Popen[bytes]] = {}


def end_servers_with_this_process() -> None:
    """Have a watcher end the temporary servers that this process starts from now on."""
    if os.getpid() in _watched:
        return
    os.environ[MARK] = mark = uuid.uuid4().hex
    _watched[os.getpid()] = subprocess.Popen(
        [sys.executable, "-P", _WATCHER, mark, str(os.getpid())],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def shield_from_terminal() -> None:
    """Start temporary servers in a session of their own, where no Ctrl-C of ours reaches them.

    Otherwise a run that is ended from its terminal finds nobody whom it could tell. Imports
    Prefect; where its server is started in another way than we know, the log says so.
    """

    class Detached(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **(options | {"start_new_session": True}))  # type: ignore[call-overload]

    try:
        server = importlib.import_module("prefect.server.api.server")
        _ = server.subprocess
    except (ImportError, AttributeError):
        _log.warning("Prefect starts its temporary server in a new way: Ctrl-C may reach it too.")
        return
    server.subprocess = SimpleNamespace(**(vars(subprocess) | {"Popen": Detached}))


def end_orphaned_servers(home: str) -> None:
    """End the temporary servers of this home whose process and watcher were both killed."""
    watched = set(_marks_of_watchers())
    orphans = [p for p, mark, its in _servers() if its == home and mark not in watched]
    _end(orphans)


def _servers() -> Iterator[tuple[psutil.Process, str, str]]:
    """Yield every temporary server of a marked process, with its mark and its PREFECT_HOME."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if _APP not in process.cmdline():
                continue
            variables = process.environ()
            if MARK in variables and "PREFECT__SERVER_EPHEMERAL" in variables:
                yield process, variables[MARK], variables.get("PREFECT_HOME", "")


def _marks_of_watchers() -> Iterator[str]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            if len(command) > 3 and Path(command[2]).name == Path(_WATCHER).name:
                yield command[3]


def _end(servers: list[psutil.Process]) -> None:
    """Ask servers and what they started to end; kill what does not."""
    family = list(servers)
    for server in servers:
        with contextlib.suppress(psutil.Error):
            family += server.children(recursive=True)
    for process in family:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, deaf = psutil.wait_procs(family, timeout=_GRACE_SECONDS)
    for process in deaf:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _watch(mark: str, parent: int) -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # it ends with its parent, and only then
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    n_quiet = 0
    while n_quiet < _N_QUIET:
        left = [process for process, its, _ in _servers() if its == mark]
        _end(left)
        n_quiet = 0 if left else n_quiet + 1
        time.sleep(_POLL_SECONDS)


if __name__ == "__main__":
    _watch(sys.argv[1], int(sys.argv[2]))
