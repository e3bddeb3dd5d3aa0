"""Serving the explorer to browsers on this machine, and to nobody else."""

import contextlib
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import uvicorn
from starlette.types import ASGIApp

from dskd_core.errors import DskdError
from dskd_core.explorer.opening import LateApp

if TYPE_CHECKING:
    from dskd_core.explorer.shelf import Shelf

HOST = "127.0.0.1"
_PATIENCE_SECONDS = 10


def serve(root_uri: str, *, port: int, tell: Callable[[str], None], dictionary: str = "") -> None:
    """Serve a dictionary of a root on the loopback until a signal ends it.

    Args:
        root_uri: the root.
        dictionary: its fingerprint, or how it begins; the newest where it is empty.
        port: 0 for a free one.
        tell: given the address once it is listened on.

    Raises:
        ArtifactError: if a dictionary is named and not there.
        ConfigError: if several begin so.
        OSError: if the port is taken.
    """
    if dictionary:
        _check_name(root_uri, dictionary)
    shelves: list[Shelf] = []

    def make() -> ASGIApp:
        from dskd_core.explorer.app import make_app
        from dskd_core.explorer.shelf import Shelf

        shelves.append(Shelf(root_uri, dictionary=dictionary))
        with contextlib.suppress(DskdError):  # the first page asks again, and says it
            shelves[0].dictionary()
        return make_app(shelves[0])

    def warm() -> None:
        shelves[0].warm()

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen()  # who follows the address at once waits, and is not refused
        app = LateApp(make, warm)
        config = uvicorn.Config(app, log_level="error", server_header=False, lifespan="off")
        tell(f"http://{HOST}:{listening.getsockname()[1]}/")
        try:
            uvicorn.Server(config).run(sockets=[listening])
        finally:
            app.thread.join(timeout=_PATIENCE_SECONDS)
            for shelf in shelves:
                shelf.close()


def _check_name(root_uri: str, dictionary: str) -> None:
    """Refuse a wrong name before anybody looks."""
    from dskd_core.explorer.opened import choose
    from dskd_core.store.artifacts import ArtifactStore

    choose(ArtifactStore(root_uri), dictionary)
