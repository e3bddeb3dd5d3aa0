"""Limits of the system that a run meets are said in one sentence, whoever found out."""

import errno
import os

import pytest

from dskd_core.errors import CapacityError
from flows.flow import dskd_flow
from flows.limits import LimitReachedError, limit_reached


def behind(cause: BaseException) -> RuntimeError:
    error = RuntimeError("1 of 3 tasks failed")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MemoryError(), "The system gave no more memory (MemoryError); this process may have "),
        (
            OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
            "The system gave no more memory ([Errno",
        ),
        (ImportError("libx.so: cannot allocate memory in static TLS"), "The system gave no more m"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 GB"), "The system gave no mo"),
        (behind(RuntimeError("can't start new thread")), "The system gave no new thread (can't st"),
        (BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)), "The system gave no new thread"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "The system opened no more files ([Err"),
        (behind(RuntimeError("duckdb: Too many open files")), "The system opened no more files ("),
    ],
)
def test_a_limit_is_named_with_its_cure(error, sentence):
    said = limit_reached(error)
    assert said.startswith(sentence)
    assert said.endswith("and run again: finished work is kept.")
    assert "\n" not in said


@pytest.mark.parametrize(
    "error", [CapacityError("It does not fit; lower it."), ValueError("out of memory"), KeyError(3)]
)
def test_what_dskd_refuses_and_other_errors_are_no_limits(error):
    assert limit_reached(error) == ""


def test_a_flow_fails_with_the_sentence_and_one_around_it_with_the_same():
    @dskd_flow("within")
    def within() -> None:
        raise behind(RuntimeError("can't start new thread"))

    @dskd_flow("around")
    def around() -> None:
        within.fn()

    with pytest.raises(LimitReachedError) as raised:
        around.fn()
    said = limit_reached(behind(RuntimeError("can't start new thread")))
    assert str(raised.value) == limit_reached(raised.value) == said
