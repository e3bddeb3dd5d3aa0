"""Serving the explorer to browsers on this machine, and to nobody else."""

import socket
import threading
from collections.abc import Callable

import uvicorn

from dskd_core.explorer.app import make_app
from dskd_core.explorer.opened import choose
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
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        shelf = Shelf(root_uri, dictionary=dictionary)
        if dictionary:
            choose(shelf.store, dictionary)  # a wrong name is refused before anybody looks
        warming = threading.Thread(target=shelf.warm, daemon=True)
        warming.start()
        config = uvicorn.Config(make_app(shelf), log_level="error", server_header=False)
        tell(f"http://{HOST}:{listening.getsockname()[1]}/")
        try:
            uvicorn.Server(config).run(sockets=[listening])
        finally:
            warming.join(timeout=_PATIENCE_SECONDS)
            shelf.close()
