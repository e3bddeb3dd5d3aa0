"""A process that was told to end ends, whether or not a server hears of it."""

import http.server
import os
import signal
import threading
from types import SimpleNamespace

import pytest

from flows import shutdown
from flows.shutdown import is_ready


@pytest.fixture
def watch(monkeypatch):
    """Watch a server that answers as told at 0, 1, 2 ... seconds; return when and how that ends."""

    def run(answers: str, *, saved_after: int | None) -> tuple[int, str]:
        now, ended = 0.0, []

        def answer() -> bool:
            if now == saved_after:
                watch.saved()
            return answers[round(now)] == "y"

        def sleep(seconds: float) -> None:
            nonlocal now
            assert seconds == 1.0
            now += seconds

        clock = SimpleNamespace(monotonic=lambda: now, sleep=sleep)
        monkeypatch.setattr(shutdown, "time", clock)
        watch = shutdown.ServerWatch(answer, lambda: ended.append(now))
        try:
            watch.run()
        except IndexError:  # no more answers
            return round(now), "still watching"
        return round(now), "ended" if ended else "left in peace"

    return run


def test_a_silent_server_is_not_waited_for_once_all_is_saved(watch):
    assert watch("n" * 100, saved_after=0) == (11, "ended")


def test_a_silent_server_is_borne_longer_while_tasks_may_still_save(watch):
    assert watch("n" * 100, saved_after=None) == (61, "ended")
    assert watch("n" * 100, saved_after=30) == (30, "ended")
    assert watch("y" * 30 + "n" * 70, saved_after=35) == (40, "ended")


def test_a_server_that_answers_is_told_in_peace(watch):
    assert watch("y" * 100, saved_after=20) == (31, "left in peace")


def test_tasks_are_never_cut_off_while_the_server_answers(watch):
    assert watch("y" * 1000, saved_after=None) == (1000, "still watching")


def test_a_server_that_comes_back_in_time_is_told_too(watch):
    assert watch("nnn" + "y" * 100, saved_after=0) == (11, "left in peace")
    assert watch(("n" * 59 + "y") * 5, saved_after=None) == (300, "still watching")


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


@pytest.fixture
def handlers():
    """Give back what signals meant before the test."""
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_a_terminal_that_closes_is_told_to_whoever_handles_sigterm_then():
    told = []
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    shutdown.end_at_hang_up()
    signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    os.kill(os.getpid(), signal.SIGHUP)
    assert told == [signal.SIGHUP]


@pytest.mark.usefixtures("handlers")
def test_a_run_under_nohup_outlives_its_terminal():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    shutdown.end_at_hang_up()
    shutdown.end_at_second_signal(lambda: False)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.usefixtures("handlers")
def test_signals_mean_what_they_meant_once_a_process_that_goes_on_is_done(monkeypatch):
    told, now = [], 0.0
    monkeypatch.setattr(shutdown, "time", SimpleNamespace(monotonic=lambda: now))
    signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    shutdown.end_at_second_signal(lambda: True)
    os.kill(os.getpid(), signal.SIGTERM)  # an echo
    assert told == []
    now = 2.0
    os.kill(os.getpid(), signal.SIGTERM)
    assert told == [signal.SIGTERM]
