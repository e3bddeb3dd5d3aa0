"""A process that was told to end ends, whether or not a server hears of it."""

import http.server
import threading

import pytest

from flows.farewell import Farewell, is_ready


class Server:
    """Answers as long as it is told to, and counts how often it was asked."""

    def __init__(self, *answers: bool) -> None:
        self.answers = list(answers)
        self.n_asked = 0

    def __call__(self) -> bool:
        self.n_asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def watch(server: Server, *, saved: bool, seconds: float = 5.0) -> tuple[bool, bool]:
    """Watch a server; say whether the process was ended, and whether the watch is over."""
    ended = threading.Event()
    farewell = Farewell(server, ended.set, saving_seconds=0.4, reporting_seconds=0.1)
    if saved:
        farewell.saved()
    farewell.start()
    farewell.join(seconds)
    found = ended.is_set(), not farewell.is_alive()
    server.answers = [False]
    farewell.join(5)
    assert ended.is_set() or found[1]
    return found


def test_a_silent_server_is_not_waited_for_once_all_is_saved():
    server = Server(False)
    assert watch(server, saved=True) == (True, True)
    assert server.n_asked < 20  # a hundredth of a second apart: 0.1 s, not 0.4


def test_a_silent_server_is_borne_longer_while_tasks_may_still_save():
    assert watch(Server(False), saved=False, seconds=0.2) == (False, False)
    assert watch(Server(False), saved=False) == (True, True)


def test_a_server_that_answers_is_told_in_peace():
    assert watch(Server(True), saved=True) == (False, True)


def test_tasks_are_never_cut_off_while_the_server_answers():
    assert watch(Server(True), saved=False, seconds=0.8) == (False, False)


def test_a_server_that_comes_back_in_time_is_told_too():
    assert watch(Server(False, False, False, True), saved=True) == (False, True)


@pytest.mark.parametrize(("status", "ready"), [(200, True), (503, False)])
def test_a_server_without_its_database_counts_as_silent(status, ready):
    class Ready(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status if self.path == "/api/ready" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Ready) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert is_ready(f"http://127.0.0.1:{server.server_port}/api/") is ready


def test_a_server_that_is_gone_is_silent():
    assert not is_ready("http://127.0.0.1:9/api")
