"""Where Prefect keeps its state, and which server a run started by hand reports to."""

import os
import urllib.error
import urllib.request
from pathlib import Path

from flows.shutdown import end_at_hang_up
from flows.temporary_server import (
    end_orphaned_servers,
    end_servers_with_this_process,
    shield_from_terminal,
)

PORT = int(os.environ.get("DSKD_PORT", "4200"))
PATIENCE = {
    "PREFECT_CLIENT_MAX_RETRIES": "7",
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500,504",
}
"""A server that outlives runs may be away for four minutes, Prefect's own patience is one; and a
server that lost its database answers 500. Workers have the same (infra/, docker-compose.yml)."""

_SERVED = Path("work/serve/api_url")


def use_own_prefect() -> None:
    """Give Prefect its own home under ``work/``, and tell nobody; call before importing it.

    A variable that is already set is left alone. While ``make serve`` is running, its server is
    used, so the run shows there at once; otherwise Prefect starts a server for this run alone,
    which ends with this process. A terminal that is closed is from now on what SIGTERM is.
    """
    home = Path(os.environ.setdefault("PREFECT_HOME", str(Path("work/prefect").resolve())))
    home.mkdir(parents=True, exist_ok=True)  # Prefect makes the last folder only
    settings = {
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    if "PREFECT_API_URL" not in os.environ and (url := _served_url()):
        settings |= PATIENCE | {"PREFECT_API_URL": url}
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    end_at_hang_up()
    end_orphaned_servers(str(home))
    if "PREFECT_API_URL" not in os.environ:
        end_servers_with_this_process()
        shield_from_terminal()


def _served_url() -> str | None:
    try:
        url = _SERVED.read_text("utf-8").strip()
        with urllib.request.urlopen(f"{url}/health", timeout=3):
            return url
    except (OSError, ValueError, urllib.error.URLError):
        return None
