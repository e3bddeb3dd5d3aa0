"""Serving the explorer to browsers on this machine, and to nobody else."""

import socket
import threading
from collections.abc import Callable

import uvicorn

from dskd_core.explorer.app import Shelf, make_app

HOST = "127.0.0.1"
_PATIENCE_SECONDS = 10


def serve(root_uri: str, *, port: int, tell: Callable[[str], None]) -> None:
    """Serve the newest dictionary of a root on the loopback until a signal ends it.

    Args:
        root_uri: the root.
        port: 0 for a free one.
        tell: given the address once it is listened on.

    Raises:
        OSError: if the port is taken.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        shelf = Shelf(root_uri)
        warming = threading.Thread(target=shelf.warm, daemon=True)
        warming.start()
        config = uvicorn.Config(make_app(shelf), log_level="error", server_header=False)
        tell(f"http://{HOST}:{listening.getsockname()[1]}/")
        try:
            uvicorn.Server(config).run(sockets=[listening])
        finally:
            warming.join(timeout=_PATIENCE_SECONDS)
            shelf.close()
