"""Work in the background: one at a time, told, kept; what fails is said once and tried again."""

import threading

import pytest

from dskd_core.errors import CapacityError
from dskd_core.explorer.jobs import Jobs


@pytest.fixture
def jobs():
    queue = Jobs()
    yield queue
    queue.close()


def test_work_runs_once_for_its_inputs_and_one_at_a_time(jobs):
    ran, gate = [], threading.Event()

    def first(report):
        gate.wait(20)
        ran.append("first")
        return 1

    one = jobs.ask("sum", (1,), first)
    other = jobs.ask("sum", (2,), lambda report: ran.append("second"))
    assert jobs.ask("sum", (1,), first) is one
    assert (one.is_done(0.01), other.state) == (False, "waiting")
    gate.set()
    other.wait()
    assert ran == ["first", "second"]
    assert one.result() == 1
    assert jobs.find(one.key) is one


def test_a_job_tells_how_far_it_is(jobs):
    told, gate = threading.Event(), threading.Event()

    def work(report):
        report(250, 1000, "iterations")
        told.set()
        gate.wait(20)

    job = jobs.ask("work", (), work)
    assert told.wait(20)
    expected = {"state": "running", "done": 250, "total": 1000, "unit": "iterations"}
    assert job.as_json() == expected
    gate.set()


def test_what_failed_is_said_once_and_begun_again_by_the_next_that_asks(jobs):
    runs = []

    def work(report):
        runs.append(1)
        if len(runs) == 1:
            raise ValueError("a damaged chunk")
        return "well"

    job = jobs.ask("work", (), work)
    assert job.is_done(20)
    said = jobs.ask("work", (), work)
    assert said.state == "failed"
    with pytest.raises(ValueError, match="damaged"):
        said.result()
    assert jobs.ask("work", (), work).wait() == "well"


def test_what_waited_too_long_is_dropped_and_says_so(jobs):
    gate = threading.Event()
    jobs.ask("first", (), lambda report: gate.wait(20))
    dropped = jobs.ask("second", (), lambda report: 2)
    for number in range(32):
        jobs.ask("more", (number,), lambda report: 3)
    with pytest.raises(CapacityError, match="load the page again"):
        dropped.result()
    gate.set()


def test_closing_ends_what_runs_when_it_next_reports():
    jobs, began, gate, after = Jobs(), threading.Event(), threading.Event(), []

    def work(report):
        began.set()
        gate.wait(20)
        report(1, 2, "steps")
        after.append("never")

    job = jobs.ask("work", (), work)
    assert began.wait(20)
    jobs.close()
    gate.set()
    assert job.is_done(20)
    assert after == []
