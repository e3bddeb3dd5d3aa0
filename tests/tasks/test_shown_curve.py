"""The loss curve, against a clock and a server that the test holds."""

import base64
import io
import logging
import re
from types import SimpleNamespace
from uuid import uuid4

import pytest
from PIL import Image

from dskd_core import interruption
from dskd_core.interruption import Interrupted
from tasks import curves as module
from tasks import redacted_pages
from tasks.curves import CURVE_SECONDS, FIRST_SECONDS, LiveCurve, page_of, table_of
from tasks.progress import PrefectProgress

ARTIFACT = uuid4()


@pytest.fixture
def pages(monkeypatch):
    """What the server was sent: created pages, then updates of the same artifact."""
    sent = []

    def update(artifact, change):
        assert artifact == ARTIFACT
        sent.append(("updated", change.data))

    monkeypatch.setattr(
        module,
        "create_markdown_artifact",
        lambda page, **_: sent.append(("made", page)) or ARTIFACT,
    )
    client = SimpleNamespace(update_artifact=update)
    monkeypatch.setattr(redacted_pages, "get_client", lambda *, sync_client: client)
    monkeypatch.setattr(module, "page_of", lambda title, history, n: f"{len(history)} of {n}")
    return sent


@pytest.fixture
def curve(clock, pages):
    return LiveCurve("student", "student-curve", logging.getLogger("test"), clock=clock)


def log(n: int) -> list[dict[str, float]]:
    return [{"steps": i + 1, "loss": 3.0 / (i + 1), "ce": 2.0 / (i + 1)} for i in range(n)]


def test_one_artifact_is_redrawn_every_twenty_seconds(curve, clock, pages):
    for step in range(1, 61):
        clock.now += 1.0
        curve(log(step), 60)
    assert pages == [("made", "5 of 60"), ("updated", "25 of 60"), ("updated", "45 of 60")]


def test_slow_drawing_is_done_less_often(curve, clock, pages, monkeypatch):
    def slow(title, history, n):
        clock.now += 3.0
        return "drawn"

    monkeypatch.setattr(module, "page_of", slow)
    clock.now += FIRST_SECONDS
    curve(log(1), 9)
    clock.now += CURVE_SECONDS
    curve(log(2), 9)
    assert len(pages) == 2, "the first drawing loads matplotlib and does not count"
    clock.now += 140.0
    curve(log(3), 9)
    assert len(pages) == 2, "three seconds of drawing are 2 % of 150"
    clock.now += 10.0
    curve(log(4), 9)
    assert len(pages) == 3


def test_the_end_is_shown_once(curve, clock, pages):
    clock.now += FIRST_SECONDS
    curve(log(1), 3)
    curve.show(log(3), 3)
    curve.show(log(3), 3)
    assert pages == [("made", "1 of 3"), ("updated", "3 of 3")]


def test_a_curve_that_cannot_be_drawn_ends_no_work(curve, clock, monkeypatch, caplog):
    def refuse(*_, **__):
        raise ConnectionError("the server restarts")

    monkeypatch.setattr(module, "create_markdown_artifact", refuse)
    curve.show(log(1), 3)
    assert "the server restarts" in caplog.messages[-1]


def test_a_page_is_a_picture_and_a_table():
    page = page_of("student dskd seed 0", log(40), 100)
    assert page.startswith("## student dskd seed 0: step 40 of 100\n")
    coded = re.search(r"!\[loss\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)", page)[1]
    picture = Image.open(io.BytesIO(base64.b64decode(coded)))
    assert picture.size == (760, 480)
    assert len(picture.getcolors(1 << 20)) > 10
    assert len(coded) < 60_000
    assert "| steps | loss | ce |" in page
    assert page.splitlines()[-1] == "| 40 | 0.075 | 0.05 |"


def test_steps_that_were_validated_are_the_rows_shown():
    history = log(40)
    for row in history[9::10]:
        row["validation_ce"] = 1.0
    steps = [line.split("|")[1].strip() for line in table_of(history).splitlines()[2:]]
    assert steps == ["10", "20", "30", "40"]


def test_training_is_drawn_and_other_work_is_not(clock, pages, monkeypatch):
    monkeypatch.setattr("tasks.progress.create_progress_artifact", lambda *_, **__: uuid4())
    monkeypatch.setattr("tasks.progress.update_progress_artifact", lambda *_, **__: None)
    progress = PrefectProgress("student", logging.getLogger("test"), clock=clock)
    progress(1, 9, "tokens")
    progress.end()
    assert pages == []
    progress(1, 9, "steps", loss=2.0)
    clock.now += CURVE_SECONDS
    progress(2, 9, "steps", loss=1.0)
    progress(3, 9, "steps", loss=0.5)
    progress.end()
    assert pages == [("made", "2 of 9"), ("updated", "3 of 9")]


def test_work_that_was_asked_to_stop_stops_where_it_reports(clock, pages, monkeypatch):
    monkeypatch.setattr("tasks.progress.create_progress_artifact", lambda *_, **__: uuid4())
    progress = PrefectProgress("senses", logging.getLogger("test"), clock=clock)
    progress(1, 3, "shards")
    interruption.request()
    try:
        with pytest.raises(Interrupted):
            progress(2, 3, "shards")
    finally:
        interruption.clear()
