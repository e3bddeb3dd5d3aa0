import os
import signal
from contextvars import copy_context

import pytest

from dskd_core import interruption
from dskd_core.interruption import Interrupted


def test_sigterm_asks_and_kills_nobody():
    before = signal.getsignal(signal.SIGTERM)
    with interruption.on_sigterm():
        interruption.check()
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.is_requested()
        with pytest.raises(Interrupted, match="run it again"):
            interruption.check()
    assert signal.getsignal(signal.SIGTERM) is before
    assert not interruption.is_requested()


def test_work_that_is_to_be_finished_is_known_until_its_last_thread_has_ended():
    assert not interruption.is_finishing()
    with interruption.finishing():
        with pytest.raises(Interrupted), interruption.finishing():
            raise Interrupted
        assert interruption.is_finishing()
    assert not interruption.is_finishing()


def test_an_interrupted_run_is_no_error_to_be_handled():
    assert not issubclass(Interrupted, Exception)


def test_one_run_of_a_process_is_asked_and_the_others_go_on():
    def asked(run: str) -> bool:
        interruption.belong_to(run)
        return interruption.is_requested()

    interruption.request("a")
    try:
        # A context each, as the threads of a task runner have.
        assert [copy_context().run(asked, run) for run in ("a", "b", "")] == [True, False, False]
    finally:
        interruption.clear("a")
    assert not copy_context().run(asked, "a")
