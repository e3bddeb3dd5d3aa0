"""Processes that end in every way a process can, and what they leave."""

import contextlib
import ipaddress
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.served import awaited

ROOT = Path(__file__).parents[2]
APP = "prefect.server.api.server:create_app"


@dataclass
class Started:
    """A process with a PREFECT_HOME of its own, started in a session of its own.

    Attributes:
        process: the process.
        home: its PREFECT_HOME, which tells its servers from all others.
        log: the file that it writes to.
    """

    process: subprocess.Popen
    home: Path
    log: Path

    def send(self, number: signal.Signals, *, to_group: bool = False) -> float:
        """Send a signal to the process, or to its whole group; return when."""
        (os.killpg if to_group else os.kill)(self.process.pid, number)
        return time.monotonic()

    def code(self, seconds: float) -> int:
        """Wait for the end; return what the process ended with."""
        return self.process.wait(timeout=seconds)

    def said(self) -> str:
        """Return the end of what it wrote."""
        return self.log.read_text(errors="replace")[-4000:]

    def left(self) -> list[psutil.Process]:
        """Return the temporary servers and watchers of this home that are there."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("PREFECT_HOME") == str(self.home):
                    command = " ".join(process.cmdline())
                    if APP in command or "temporary_server.py" in command:
                        found.append(process)
        return found

    def has_server(self) -> bool:
        """Say whether a temporary server of this home is there."""
        return any(APP in " ".join(process.cmdline()) for process in self.left())


def start(command: list[str], folder: Path, name: str, **variables: str) -> Started:
    """Start Python with these arguments; its log is ``folder/name.log``."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    home = Path(variables.setdefault("PREFECT_HOME", str(folder / f"{name}-prefect")))
    home.mkdir(exist_ok=True)
    log = folder / f"{name}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            env=environment | {"PYTHONPATH": str(ROOT)} | variables,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Started(process, home, log)


def seconds_until_gone(started: Started, ended: float, limit: float) -> float:
    """Return how long after its end servers and watchers were gone; infinity beyond the limit."""
    gone = awaited(lambda: not started.left(), limit - (time.monotonic() - ended))
    return time.monotonic() - ended if gone else float("inf")


def is_open(port: int) -> bool:
    """Say whether somebody listens at a port of this machine."""
    return any(
        connection.laddr.port == port and connection.status == psutil.CONN_LISTEN
        for connection in psutil.net_connections("tcp")
    )


@dataclass
class Listeners:
    """Looks, again and again while its block lasts, on which addresses a family listens.

    Attributes:
        root: the oldest of the family.
        processes: the command lines seen.
        addresses: (address, port) seen, each with the command line of whoever listened.
    """

    root: psutil.Process = field(default_factory=psutil.Process)
    processes: set[str] = field(default_factory=set)
    addresses: dict[tuple[str, int], str] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        """Look once."""
        for process in [self.root, *self.root.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                name = " ".join(process.cmdline())
                self.processes.add(name)
                for connection in process.net_connections("inet"):
                    if connection.status == psutil.CONN_LISTEN:
                        self.addresses[tuple(connection.laddr)] = name

    def beyond(self) -> set[tuple[str, int, str]]:
        """Return what can be reached from other machines."""
        return {
            (ip, port, name)
            for (ip, port), name in self.addresses.items()
            if not ipaddress.ip_address(ip).is_loopback
        }

    def __enter__(self) -> "Listeners":
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            self.look()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.look()
