"""Whose temporary servers are ended."""

import os
import sys

import pytest
from prefect.server.api import server

from flows import temporary_server

APP = ["python", "-m", "uvicorn", "prefect.server.api.server:create_app"]


class Process:
    def __init__(self, title, command, home="here", mark="", temporary=True):
        self.title, self.command = title, command
        self.variables = {"PREFECT_HOME": home}
        self.variables |= {temporary_server.MARK: mark} if mark else {}
        self.variables |= {"PREFECT__SERVER_EPHEMERAL": "1"} if temporary else {}

    def cmdline(self):
        return self.command

    def environ(self):
        return self.variables


@pytest.fixture
def ended(monkeypatch):
    """What is ended among these processes, when a run of the home ``here`` begins."""

    def begin(*processes):
        titles = []
        monkeypatch.setattr(temporary_server.psutil, "process_iter", lambda: processes)
        monkeypatch.setattr(
            temporary_server, "_end", lambda servers: titles.extend(s.title for s in servers)
        )
        temporary_server.end_orphaned_servers("here")
        return titles

    return begin


def test_only_an_orphaned_temporary_server_of_this_home_is_ended(ended):
    watcher = ["python", "-P", temporary_server._WATCHER, "b", "123"]
    assert ended(
        Process("orphan", APP, mark="a"),
        Process("of a live run", APP, mark="b"),
        Process("its watcher", watcher, temporary=False),
        Process("of another home", APP, home="there", mark="c"),
        Process("of make serve", APP, mark="d", temporary=False),
        Process("of somebody's own flow", APP),
        Process("another program", ["vi", "server.py"], mark="a"),
    ) == ["orphan"]


def test_a_prefect_that_starts_its_server_in_another_way_is_said_and_borne(monkeypatch):
    said = []
    monkeypatch.delattr(server, "subprocess")
    monkeypatch.setattr(temporary_server._log, "warning", said.append)
    temporary_server.shield_from_terminal()
    assert ["Ctrl-C may reach it too" in line for line in said] == [True]


def test_a_shielded_server_stands_in_a_session_of_its_own(monkeypatch):
    monkeypatch.setattr(server, "subprocess", server.subprocess)
    temporary_server.shield_from_terminal()
    child = server.subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1)
    try:
        assert os.getsid(child.pid) == child.pid
    finally:
        child.communicate(b"\n", timeout=30)
