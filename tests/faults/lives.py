"""Processes that are born again and again, to be killed."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@contextmanager
def lives(target: Callable[..., None], *, seconds: float) -> Iterator[Callable[..., int]]:
    """Give a function that runs ``target`` in a process of its own and returns its exit code.

    The imports, most of a short life, are made once.

    Args:
        target: a function of a module.
        seconds: a life that lasts longer fails the test.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([target.__module__])

    def live(*args: Any) -> int:
        process = context.Process(target=target, args=args)
        process.start()
        process.join(seconds)
        assert process.exitcode is not None, f"alive after {seconds} s, waiting for {args[1:]}"
        return process.exitcode

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        yield live
