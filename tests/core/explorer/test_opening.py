"""The first page, before anything is imported or open."""

import socket
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from fastapi.testclient import TestClient

from dskd_core.explorer.opening import LateApp
from dskd_core.explorer.server import serve

HEAVY = ("torch", "transformers", "scipy", "zarr", "duckdb", "pyarrow")


def test_the_server_is_imported_without_what_takes_seconds():
    asked = f"[name for name in {HEAVY} if name in sys.modules]"
    code = f"import sys, dskd_core.explorer.server; print({asked})"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_the_home_page_does_not_wait_for_torch(explored):
    code = f"""
import sys
from fastapi.testclient import TestClient
from dskd_core.explorer.app import make_app
from dskd_core.explorer.shelf import Shelf

client = TestClient(make_app(Shelf({explored.config.root_uri!r})), base_url="http://127.0.0.1")
home = client.get("/?q=l")
late = ("torch", "transformers", "scipy")
print(home.status_code, [name for name in late if name in sys.modules])
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "200 []"


def test_the_first_page_says_that_the_dictionary_is_being_opened_and_other_pages_wait():
    may_open, warmed = threading.Event(), threading.Event()

    def make() -> FastAPI:
        may_open.wait()
        app = FastAPI()
        for path in ("/", "/word"):
            app.get(path)(lambda: PlainTextResponse("here"))
        return app

    app = LateApp(make, warmed.set)
    client = TestClient(app, base_url="http://127.0.0.1")
    first = client.get("/?q=<b>")
    assert first.status_code == 200
    assert "Opening the dictionary" in first.text
    assert "&lt;b&gt;" in first.text
    assert "default-src 'self'" in first.headers["content-security-policy"]
    assert client.get("/progress?job=opening").json()["state"] == "running"
    assert "--ink" in client.get("/explorer.css").text
    assert "location.reload" in client.get("/explorer.js").text
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(client.get("/word").text))
    waiting.start()
    waiting.join(timeout=0.2)
    assert answers == []
    may_open.set()
    waiting.join(timeout=20)
    assert answers == ["here"]
    assert client.get("/").text == "here"
    assert warmed.wait(timeout=20)


def test_who_follows_the_address_at_once_is_not_refused(tmp_path):
    def follow(address: str) -> None:
        place = urlsplit(address)
        socket.create_connection((place.hostname, place.port), timeout=5).close()
        raise InterruptedError

    with pytest.raises(InterruptedError):
        serve(str(tmp_path), port=0, tell=follow)
