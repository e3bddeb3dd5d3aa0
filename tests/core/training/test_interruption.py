import os
import signal

import pytest

from dskd_core.training import interruption
from dskd_core.training.interruption import Interrupted


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


def test_an_interrupted_run_is_no_error_to_be_handled():
    assert not issubclass(Interrupted, Exception)
