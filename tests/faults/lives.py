"""Processes that are born again and again, to be killed."""

import multiprocessing
import os
import time
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

    The function has an attribute ``together``, which runs several lives at once, each from its own
    arguments, and returns their exit codes; ``start`` does not wait for them.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([target.__module__])

    def start(*lives: tuple[Any, ...]) -> list[Any]:
        processes = [context.Process(target=target, args=args) for args in lives]
        for process in processes:
            process.start()
        return processes

    def together(*lives: tuple[Any, ...]) -> list[int]:
        processes = start(*lives)
        deadline = time.monotonic() + seconds
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
        codes = [process.exitcode for process in processes]
        for process in processes:
            process.kill()
        assert None not in codes, f"alive after {seconds} s: {[args[1:] for args in lives]}"
        return codes

    def live(*args: Any) -> int:
        return together(args)[0]

    live.start, live.together = start, together

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        yield live
