"""What the system did not give: memory, threads or open files, said in one sentence."""

import errno
import resource
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from dskd_core.errors import DskdError, causes_of, says_no_memory

_THREADS = ("can't start new thread", "resource temporarily unavailable")
_FILES = ("too many open files",)
_CURE = "and run again: finished work is kept."


P = ParamSpec("P")
R = TypeVar("R")


class LimitReachedError(RuntimeError):
    """The sentence about a limit, in the place of the error that a run met it by."""


def naming_limits(function: Callable[P, R]) -> Callable[P, R]:
    """Return ``function``, whose errors say which limit it met: Prefect shows them as its state."""

    @wraps(function)
    def named(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (MemoryError, OSError, RuntimeError, ImportError) as error:
            if isinstance(error, LimitReachedError) or not (sentence := limit_reached(error)):
                raise
            raise LimitReachedError(sentence) from error

    return named


def limit_reached(error: BaseException) -> str:
    """Return a sentence about the limit that ended a run; empty if none did, or dskd said so.

    >>> limit_reached(RuntimeError("can't start new thread"))[:44]
    "The system gave no new thread (can't start n"
    >>> limit_reached(ValueError("3 rows"))
    ''
    """
    for cause in causes_of(error):
        if isinstance(cause, DskdError):
            return ""
        if isinstance(cause, LimitReachedError):
            return str(cause)
        if sentence := _sentence(cause):
            return sentence
    return ""


def _sentence(error: BaseException) -> str:
    number = error.errno if isinstance(error, OSError) else None
    lines = str(error).splitlines() or [type(error).__name__]
    text = lines[0].lower()
    if number in (errno.EMFILE, errno.ENFILE) or any(word in text for word in _FILES):
        limit = _limit(resource.RLIMIT_NOFILE, 1, "files")
        return (
            f"The system opened no more files ({lines[0]}); this process may have {limit} open "
            f"(ulimit -n): allow 1,024 or more, {_CURE}"
        )
    if isinstance(error, RuntimeError | OSError) and any(word in text for word in _THREADS):
        return (
            f"The system gave no new thread ({lines[0]}); raise the limits of memory and processes "
            f"(ulimit -v, ulimit -u), or end other processes, {_CURE}"
        )
    known = isinstance(error, RuntimeError | OSError | ImportError)
    no_memory = number == errno.ENOMEM or (known and says_no_memory(text))
    if isinstance(error, MemoryError) or no_memory:
        limit = _limit(resource.RLIMIT_AS, 10**9, "GB")
        return (
            f"The system gave no more memory ({lines[0]}); this process may have {limit} "
            f"(ulimit -v): raise that, or end other processes, {_CURE}"
        )
    return ""


def _limit(number: int, unit: int, name: str) -> str:
    limit, _ = resource.getrlimit(number)
    return "any amount" if limit == resource.RLIM_INFINITY else f"{limit / unit:,.4g} {name}"
