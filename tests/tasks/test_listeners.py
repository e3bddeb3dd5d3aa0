"""What the tasks of this process tell, and to whom."""

import logging
from types import SimpleNamespace
from uuid import uuid4

import pytest

from dskd_core.interruption import Interrupted
from tasks import progress as progress_module
from tasks import shards
from tasks.listeners import Begun, Ended, Planned, Progressed, listening, tell, told
from tasks.progress import PrefectProgress


@pytest.fixture
def heard():
    events = []
    with listening(events.append):
        yield events


def build(title, make, **named):
    return told(title, make, outcome=lambda _: "made", counts=lambda _: {"n_rows": 7}, **named)


def test_a_shard_is_told_when_it_begins_and_when_it_ends(heard):
    assert build("senses shard 0-of-3", lambda: "uri", is_shard=True) == "uri"
    begun, ended = heard
    assert begun == Begun("senses shard 0-of-3", "senses shard 0-of-3", is_shard=True)
    assert (ended.outcome, ended.is_shard, ended.counts) == ("made", True, {"n_rows": 7})
    assert ended.seconds >= 0


def test_work_that_fails_is_told_and_its_error_arrives(heard):
    def fail():
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        build("senses", fail)
    assert [type(event) for event in heard] == [Begun, Ended]
    assert heard[1].outcome == "failed"


def test_work_that_is_told_to_end_has_not_failed(heard):
    def stop():
        raise Interrupted("asked to")

    with pytest.raises(Interrupted):
        build("senses", stop)
    assert heard[1].outcome == "stopped"


def test_progress_is_told_with_its_measures_however_seldom_it_is_logged(heard, clock, monkeypatch):
    monkeypatch.setattr(progress_module, "create_progress_artifact", lambda *_, **__: uuid4())
    told_of = PrefectProgress("words", logging.getLogger("test"), clock=clock)
    told_of(1, 100, "words")
    told_of(2, 100, "words", pieces=1.5)
    assert heard == [
        Progressed("words", "words", 1, 100, "words", {}),
        Progressed("words", "words", 2, 100, "words", {"pieces": 1.5}),
    ]


def test_a_stage_tells_how_many_shards_it_has_before_the_first(heard):
    class Task:
        def submit(self, name):
            assert heard == [Planned("senses", 3)]
            return SimpleNamespace(
                wait=lambda: None,
                result=lambda **_: name,
                state=SimpleNamespace(is_completed=lambda: True),
            )

    shards.in_slots("senses", Task(), {name: (name,) for name in "abc"})


def test_a_listener_that_fails_hears_no_more_and_ends_no_work(heard, caplog):
    calls = []

    def broken(event):
        calls.append(event)
        raise KeyError("view")

    with listening(broken):
        tell(Planned("senses", 3))
        tell(Planned("senses", 4))
    assert len(calls) == 1
    assert len(heard) == 2
    assert "hears no more" in caplog.text


def test_who_has_stopped_listening_is_told_nothing():
    events = []
    with listening(events.append):
        tell(Planned("senses", 3))
    tell(Planned("senses", 4))
    assert events == [Planned("senses", 3)]
