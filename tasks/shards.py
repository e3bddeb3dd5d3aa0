"""Waiting for shards: for all of them, before anything is said about the ones that failed."""

from collections.abc import Mapping
from typing import Any

from prefect import Task, get_run_logger
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture

from dskd_core.errors import DskdError
from tasks.artifacts import in_one_line, show_outcomes
from tasks.listeners import Planned, tell


class ShardError(RuntimeError):
    """Some shards failed for good; the others are kept."""


def in_slots(
    stage: str,
    task: Task[..., str],
    calls: Mapping[str, tuple[Any, ...]],
    done: Mapping[str, str] | None = None,
    *,
    writes_beside: bool = False,
) -> list[str]:
    """Run tasks that each fill a device: as many at once as the flow's task runner has slots.

    One slot, as in threads: the next goes out when one has ended, well or not. Several: the next
    goes out when the oldest of them has. No number: all go out, and the cluster gives each a
    device when it has one.

    Args:
        stage: what they are part of, for the message.
        task: what runs.
        calls: the name of each and its arguments.
        done: the URIs of those known to be there, by name; they are not run.
        writes_beside: each holds its device only while it computes, so one more is out where there
            is one slot: it computes while the one before it is written.

    Returns:
        The URIs, in the order of ``calls``.

    Raises:
        DskdError, ShardError: as :func:`gathered`, when all have ended.
    """
    context = FlowRunContext.get()
    n_slots = getattr(context.task_runner, "n_slots", 1) if context else 1
    if n_slots == 1 and writes_beside:
        n_slots = 2
    futures: dict[str, PrefectFuture[str]] = {}
    done = done or {}
    tell(Planned(stage, len(calls)))
    for name, arguments in calls.items():
        if name in done:
            continue
        futures[name] = task.submit(*arguments)
        if n_slots and len(futures) >= n_slots:
            list(futures.values())[-n_slots].wait()
    made = dict(zip(futures, gathered(stage, futures), strict=True))
    return [(made | done)[name] for name in calls]


def gathered(stage: str, futures: Mapping[str, PrefectFuture[str]]) -> list[str]:
    """Wait for every future and return the URIs, in order.

    Args:
        stage: what the shards are part of, for the message.
        futures: the name of each shard and its running task.

    Raises:
        DskdError: the first refusal, as it was raised, if a shard was refused.
        ShardError: if a shard failed after all its retries; the message names each one.
    """
    for future in futures.values():
        future.wait()
    errors = {
        name: error for name, future in futures.items() if (error := _error_of(future)) is not None
    }
    if not errors:
        return [future.result() for future in futures.values()]
    show_outcomes(stage, {n: errors[n] if n in errors else f.result() for n, f in futures.items()})
    refusals = [error for error in errors.values() if isinstance(error, DskdError)]
    if refusals:
        get_run_logger().error("%s: %d of %d were refused", stage, len(refusals), len(futures))
        raise refusals[0]
    named = "; ".join(f"{name} ({in_one_line(error)})" for name, error in errors.items())
    raise ShardError(
        f"{len(errors)} of {len(futures)} {stage} tasks failed: {named}. The others are kept: "
        "retry the run to redo these alone."
    )


def _error_of(future: PrefectFuture[str]) -> Any:
    """Return what a task ended with instead of a result, or None."""
    try:
        found = future.result(raise_on_failure=False)
    except Exception as error:  # of the cluster: the task never came to an end
        return error
    return None if future.state.is_completed() else found
