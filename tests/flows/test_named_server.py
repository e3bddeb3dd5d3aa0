"""A server that a setting names and that is not there, or is something else."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest.mock import Mock

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from dskd_core.errors import ConfigError
from flows import named_server
from flows.named_server import check_server

LOGIN = "bob:s3cret-pw@"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(named_server, "_N_TRIES", 1)
    monkeypatch.setattr(named_server, "_TIMEOUT", httpx.Timeout(0.5))


def refused(url: str) -> str:
    with temporary_settings({PREFECT_API_URL: url}), pytest.raises(ConfigError) as error:
        check_server()
    text = str(error.value)
    assert error.value.__suppress_context__
    assert "s3cret" not in text
    assert "bob" not in text
    assert text.endswith("the run then has a temporary server of its own.")
    return text


@contextmanager
def answering(status: int, body: bytes) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815  the name that http.server looks for

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def saying(answer: bytes | None) -> Iterator[int]:
    """Listen, and answer every connection with these bytes, or not at all."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_all():
            held = []
            while True:
                try:
                    held.append(listener.accept()[0])
                except OSError:
                    return
                if answer is not None:
                    held[-1].sendall(answer)
                    held[-1].close()

        threading.Thread(target=answer_all, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_a_server_that_is_gone_is_refused_with_both_cures():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    text = refused(f"http://{LOGIN}127.0.0.1:{port}/api?key=s3cret")
    assert f"is http://127.0.0.1:{port}/api, and nothing listens there: start that server" in text


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b"<html>hello</html>", "what answers is no Prefect API of this version"),
        (200, b'{"a": 1}', "what answers is no Prefect API of this version"),
        (404, b"", r"is no Prefect API (HTTP 404): its address ends in /api"),
        (401, b"", "its server refuses us (HTTP 401): set PREFECT_API_KEY, or"),
        (403, b"", "refuses us (HTTP 403)"),
        (503, b"", "its server is not well (HTTP 503): see its log"),
        (301, b"", "what answers is no Prefect API"),
    ],
)
def test_what_answers_otherwise_than_prefect_is_refused(status, body, words):
    with answering(status, body) as port:
        assert words in refused(f"http://{LOGIN}127.0.0.1:{port}/api")


@pytest.mark.parametrize(
    ("scheme", "answer", "words"),
    [
        ("http", b"SSH-2.0-OpenSSH_9.2\r\n", "what answers does not speak HTTP"),
        ("http", None, "nothing answers there in time"),
        ("https", b"HTTP/1.1 400 Bad Request\r\n\r\n", "no secure connection comes about"),
    ],
)
def test_what_speaks_something_else_is_refused(scheme, answer, words):
    with saying(answer) as port:
        assert words in refused(f"{scheme}://{LOGIN}127.0.0.1:{port}/api")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://no-such-host.invalid:4200/api", "no such host is known: correct its name"),
        ("127.0.0.1:4200/api", "that is no address: write http://HOST:4200/api"),
        ("ftp://127.0.0.1/api", "that is no address"),
        ("http://127.0.0.1:bob/api", "that is no address"),
    ],
)
def test_what_is_no_address_is_refused(url, words):
    assert words in refused(url)


@pytest.mark.parametrize(
    ("error", "n_tries"),
    [(httpx.ConnectError("refused"), 3), (httpx.ReadTimeout("late"), 1), (ValueError("html"), 1)],
)
def test_a_server_that_is_just_starting_is_asked_again(monkeypatch, error, n_tries):
    monkeypatch.setattr(named_server, "_N_TRIES", 3)
    monkeypatch.setattr(named_server, "_PAUSE_SECONDS", 0.0)
    asked = Mock(side_effect=error)
    monkeypatch.setattr(named_server, "_ask", asked)
    refused("http://127.0.0.1:9/api")
    assert asked.call_count == n_tries
    asked.side_effect = [httpx.ConnectError("refused"), None]
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        check_server()


def test_no_server_is_asked_for_where_none_is_named(monkeypatch):
    monkeypatch.setattr(named_server, "_ask", lambda: pytest.fail("asked"))
    with temporary_settings({PREFECT_API_URL: None}):
        check_server()


def test_the_setting_is_found_where_it_stands(monkeypatch):
    url = "http://127.0.0.1:9/api"
    monkeypatch.setenv("PREFECT_API_URL", url)
    assert "from the environment" in refused(url)
    monkeypatch.delenv("PREFECT_API_URL")
    assert "from Prefect's profile, .env, prefect.toml" in refused(url)
    assert "profiles.toml" in refused(url)
