"""How progress is shown, against a clock and a server that the test holds."""

import logging
from uuid import uuid4

import pytest
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from tasks import curves
from tasks import progress as module
from tasks.progress import PrefectProgress


@pytest.fixture
def bars(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        module, "create_progress_artifact", lambda p, **_: drawn.append(("new", p)) or uuid4()
    )
    monkeypatch.setattr(
        module, "update_progress_artifact", lambda _, progress: drawn.append(("moved", progress))
    )
    return drawn


@pytest.fixture
def progress(clock, bars, caplog):
    caplog.set_level(logging.INFO)
    return PrefectProgress("senses", logging.getLogger("test"), clock=clock)


def test_the_log_tells_rate_and_time_left(progress, clock, caplog):
    progress(0, 1000, "tokens")
    clock.now += 10
    progress(250, 1000, "tokens", inertia=0.125)
    assert caplog.messages == [
        "senses: 0 of 1,000 tokens",
        "senses: 250 of 1,000 tokens, 25.0/s, 30 s left, inertia 0.125",
    ]


def test_a_resumed_run_counts_its_own_rate_only(progress, clock, caplog):
    progress(900, 1000, "steps")
    clock.now += 10
    progress(950, 1000, "steps")
    assert "5.0/s, 10 s left" in caplog.messages[-1]


def test_reports_in_quick_succession_are_not_shown_but_the_last_one_is(
    progress, clock, caplog, bars
):
    for n_done in range(1, 101):
        clock.now += 0.01
        progress(n_done, 100, "shards")
    assert len(caplog.messages) == 2
    assert bars == [("new", 1.0), ("moved", 100.0)]


def test_the_bar_moves_every_few_seconds(progress, clock, bars):
    for n_done in (0, 10, 20):
        progress(n_done, 100, "shards")
        clock.now += module.BAR_SECONDS
    assert bars == [("new", 0.0), ("moved", 10.0), ("moved", 20.0)]


def test_every_measured_step_is_kept_for_the_table(progress):
    progress(1, 3, "steps", loss=2.0)
    progress(2, 3, "steps", loss=1.0)
    assert progress.history == [{"steps": 1, "loss": 2.0}, {"steps": 2, "loss": 1.0}]


def test_a_bar_that_cannot_be_drawn_ends_no_work(progress, monkeypatch, caplog):
    def refuse(*_, **__):
        raise ConnectionError("the server restarts")

    monkeypatch.setattr(module, "create_progress_artifact", refuse)
    progress(1, 2, "shards")
    assert "the server restarts" in caplog.messages[-1]


def test_bar_and_curve_ask_a_server_that_is_away_only_twice(clock, monkeypatch):
    """Clients of a served run ask for four minutes; the work must not stand still as long."""
    asked = []

    def refuse(*_, **__):
        asked.append(PREFECT_CLIENT_MAX_RETRIES.value())
        raise ConnectionError("the server is away")

    monkeypatch.setattr(module, "create_progress_artifact", refuse)
    monkeypatch.setattr(curves, "create_markdown_artifact", refuse)
    progress = PrefectProgress("student", logging.getLogger("test"), clock=clock)
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 7}):
        progress(1, 2, "steps", loss=1.0)
        progress.end()
        assert PREFECT_CLIENT_MAX_RETRIES.value() == 7
    assert asked == [1, 1]


def test_work_of_no_units_is_done(progress, bars):
    progress(0, 0, "shards")
    assert bars == [("new", 0.0)]
