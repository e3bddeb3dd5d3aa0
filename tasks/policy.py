"""What a task tries again, and what it does not.

What the world does (disk, network, CUDA) is tried again after 5, 20 and 60 seconds, enough for an
object store or a database to restart. A refusal of ours is final, because the second try would be
refused too, and so is a bug: a ``TypeError`` does not heal with time.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ParamSpec, TypeVar

from prefect import Task, get_client, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound
from prefect.settings import (
    PREFECT_CLIENT_MAX_RETRIES,
    get_current_settings,
    temporary_settings,
)

from dskd_core.errors import DskdError
from dskd_core.redaction import learn, redact, redacting

RETRY_DELAYS_SECONDS = (5, 20, 60)
RETRY_JITTER = 0.3
GPU_LIMIT = "dskd-gpu"
_LEASE_SECONDS = 60
_SETTLING_SECONDS = 0.3
_ON_GPU: set[Callable[..., Any]] = set()
P = ParamSpec("P")
R = TypeVar("R")
NEVER_RETRIED: tuple[type[BaseException], ...] = (
    DskdError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    NotImplementedError,
    TypeError,
)

# Prefect reads its key from profiles and .env files, too, of which the environment knows nothing.
learn(get_current_settings().to_environment_variables(exclude_unset=True, include_secrets=True))


def is_worth_retrying(error: BaseException | None) -> bool:
    """Say whether a second try may end otherwise.

    >>> is_worth_retrying(OSError("connection reset")), is_worth_retrying(TypeError("bug"))
    (True, False)
    """
    return not isinstance(error, NEVER_RETRIED)


def retry_condition(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Decide for Prefect, from the state of a failed task run."""
    return is_worth_retrying(state.result(raise_on_failure=False))


def cpu_task(*, name: str, task_run_name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Return a decorator that makes a task with the retries of all of ours, for any worker.

    No secret leaves it in what it raises or in the name of its run.

    Tasks have no tags: Prefect asks the server for a slot of every tag as a task begins, which its
    SQLite refuses as often as the request in :func:`gpu_slot`.

    Args:
        name: what Prefect calls the task.
        task_run_name: what it calls a run of it, by its parameters: ``student {arm}``.
    """

    @redacting
    def named(parameters: dict[str, Any]) -> str:
        return redact(task_run_name.format(**parameters))

    def make(function: Callable[P, R]) -> Task[P, R]:
        made = task(
            name=name,
            task_run_name=named,
            retries=len(RETRY_DELAYS_SECONDS),
            retry_delay_seconds=list(RETRY_DELAYS_SECONDS),
            retry_jitter_factor=RETRY_JITTER,
            retry_condition_fn=retry_condition,
            cache_policy=NO_CACHE,
            persist_result=False,
        )(redacting(function))
        # Prefect tells tasks of one name apart by the code of their functions, now the same.
        made.task_key = f"{made.task_key}-{function.__module__}-{name}"
        return made

    return make


def gpu_task(**names: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Return a decorator for a task of teacher forwards, clustering or training.

    On a cluster it waits for a worker that holds a GPU, see :func:`needs_gpu`.
    """

    def make(function: Callable[P, R]) -> Task[P, R]:
        made = cpu_task(**names)(function)
        _ON_GPU.add(made.fn)
        return made

    return make


def needs_gpu(made: Task[..., Any]) -> bool:
    """Say whether a task was made by :func:`gpu_task`."""
    return made.fn in _ON_GPU


@contextmanager
def gpu_slot() -> Iterator[None]:
    """Hold one of the GPUs that the server's limit ``dskd-gpu`` counts, over all runs of it.

    A server without that limit lets everybody pass. A worker that died gives its slot back a
    minute later.
    """
    if not is_limited():
        yield
        return
    # The server is just writing that this task began, and its SQLite would refuse every other
    # request with "database is locked", which Prefect repeats after 2 s.
    time.sleep(_SETTLING_SECONDS)
    with concurrency(GPU_LIMIT, lease_duration=_LEASE_SECONDS):
        yield


def is_limited() -> bool:
    """Say whether the server counts GPUs."""
    with get_client(sync_client=True) as client:
        try:
            return client.read_global_concurrency_limit_by_name(GPU_LIMIT).active
        except ObjectNotFound:
            return False


def briefly() -> AbstractContextManager[Any]:
    """Ask the server at most twice meanwhile: what only shows work does not wait for its return."""
    return temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 1})
