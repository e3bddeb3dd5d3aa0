"""The Prefect server that a setting names: one that is not there is refused before a run begins."""

import os
import re
import socket
import ssl
import time
from urllib.parse import urlsplit

import httpx
from prefect import get_client
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_PROFILES_PATH,
    temporary_settings,
)

from dskd_core.errors import ConfigError, causes_of

_URL = "PREFECT_API_URL"
_N_TRIES = 3
_PAUSE_SECONDS = 1.0
_TIMEOUT = httpx.Timeout(10.0, connect=3.0)
_PASSING = {429, 500, 502, 503, 504}


def check_server() -> None:
    """Ask the server that Prefect's settings name, if they name one, for a flow.

    That needs all a run needs: the address, TLS, the key and the database behind it.

    Raises:
        ConfigError: if it does not answer as a Prefect server does.
    """
    if not (url := PREFECT_API_URL.value()):
        return
    for number in range(1, _N_TRIES + 1):
        try:
            _ask()
            return
        except Exception as error:
            if number == _N_TRIES or not _may_pass(error):
                raise _refusal(url, error) from None  # the cause may repeat a password
        time.sleep(_PAUSE_SECONDS)


def _ask() -> None:
    with (
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        get_client(httpx_settings={"timeout": _TIMEOUT}, sync_client=True) as client,
    ):
        client.read_flows(limit=1)


def _may_pass(error: Exception) -> bool:
    """Say whether a server that is just starting would answer so."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in _PASSING
    return isinstance(error, httpx.ConnectError) and not any(
        isinstance(cause, ssl.SSLError | socket.gaierror) for cause in causes_of(error)
    )


def _refusal(url: str, error: Exception) -> ConfigError:
    if _URL in os.environ:
        where, cure = "the environment", f"unset {_URL}"
    else:
        where = "Prefect's profile, .env, prefect.toml or pyproject.toml"
        cure = f"delete its line in that file; profiles are in {PREFECT_PROFILES_PATH.value()}"
    return ConfigError(
        f"{_URL}, from {where}, is {_shown(url)}, and {_fault(error)}. Or take it out "
        f"({cure}): the run then has a temporary server of its own."
    )


def _fault(error: Exception) -> str:
    """Say what is wrong with a server's answer, and its cure; nothing of the address."""
    if isinstance(error, httpx.HTTPStatusError):
        return _fault_of_status(error.response.status_code)
    causes = list(causes_of(error))
    if any(isinstance(cause, socket.gaierror) or _is_unknown(cause) for cause in causes):
        return "no such host is known: correct its name"
    if tls := [cause for cause in causes if isinstance(cause, ssl.SSLError) or _is_tls(cause)]:
        reason = getattr(tls[-1], "verify_message", "") or getattr(tls[-1], "reason", "") or "TLS"
        return (
            f"no secure connection comes about ({reason}): correct http or https, or name the "
            "server's certificate in PREFECT_API_SSL_CERT_FILE"
        )
    return next(words for kinds, words in _FAULTS if isinstance(error, kinds)).format(
        kind=type(error).__name__
    )


def _fault_of_status(status: int) -> str:
    if status in (401, 403):
        return (
            f"its server refuses us (HTTP {status}): set PREFECT_API_KEY, or for a server with a "
            "password PREFECT_API_AUTH_STRING, to what it takes"
        )
    if status in _PASSING:
        return f"its server is not well (HTTP {status}): see its log, or start it again"
    return f"what answers is no Prefect API (HTTP {status}): its address ends in /api"


_FAULTS: list[tuple[type[Exception] | tuple[type[Exception], ...], str]] = [
    (
        httpx.TimeoutException,
        "nothing answers there in time: correct it, or see that the server is well",
    ),
    (
        httpx.ConnectError,
        "nothing listens there: start that server (make serve) or correct the address",
    ),
    (
        (httpx.UnsupportedProtocol, httpx.InvalidURL, UnicodeError),
        "that is no address: write http://HOST:4200/api",
    ),
    (httpx.TransportError, "what answers does not speak HTTP ({kind}): correct the address"),
    (
        Exception,
        "what answers is no Prefect API of this version ({kind}): its address ends in /api",
    ),
]


def _is_unknown(error: BaseException) -> bool:
    return "Name or service not known" in str(error) or "getaddrinfo" in str(error)


def _is_tls(error: BaseException) -> bool:
    return "SSL" in str(error)


def _shown(url: str) -> str:
    """Return an address without the login, the query and the key that may be in it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an address that cannot be read"
    if not parts.scheme or not host:
        return "no address with a host"
    host = f"[{host}]" if ":" in host else host
    path = re.sub(r"[^\w./~-]", "?", parts.path)
    return f"{parts.scheme}://{host}{port}{path}"
