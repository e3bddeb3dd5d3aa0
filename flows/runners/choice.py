"""Where the tasks of a flow run: in threads, on a Dask cluster or on a Ray cluster.

Where is a matter of the place and not of the run's content, so the environment says it, and a
deployment or a work pool sets it (``job_variables: {env: {...}}``):

    DSKD_RUNNER        threads (default), dask or ray
    DSKD_DASK_ADDRESS  the Dask scheduler, tcp://HOST:8786
    DSKD_RAY_ADDRESS   the Ray head, ray://HOST:10001, or auto on a machine of the cluster
    DSKD_GPU_SLOTS     most shards out at once on a cluster; as many as its workers hold if unset
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from prefect import Task
from prefect.futures import PrefectFuture
from prefect.settings import PREFECT_API_URL
from prefect.task_runners import TaskRunner

from dskd_core.errors import ConfigError
from dskd_core.redaction import redacting
from flows.runners.threads import StoppableThreads

_ADDRESSES = {"dask": "DSKD_DASK_ADDRESS", "ray": "DSKD_RAY_ADDRESS"}
_EXAMPLES = {"dask": "tcp://HOST:8786 (dask scheduler prints it)", "ray": "ray://HOST:10001"}


@dataclass(frozen=True)
class RunnerSettings:
    """Where tasks run, as the environment says it.

    Attributes:
        runner: threads, dask or ray.
        address: the cluster's; empty for threads.
        n_slots: most shards out at once; None leaves it to the cluster.
    """

    runner: str = "threads"
    address: str = ""
    n_slots: int | None = 1

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read them from the environment.

        Raises:
            ConfigError: if a value is wrong, or a cluster has no address.

        >>> dask = {"DSKD_RUNNER": "dask", "DSKD_DASK_ADDRESS": "tcp://gpu1:8786"}
        >>> RunnerSettings.from_environment(dask).address
        'tcp://gpu1:8786'
        """
        runner = environment.get("DSKD_RUNNER") or "threads"
        slots = _slots(environment.get("DSKD_GPU_SLOTS"))
        if runner == "threads":
            return cls()  # one process, one teacher, one device, however many the place has
        if runner not in _ADDRESSES:
            raise ConfigError(f"DSKD_RUNNER={runner!r} is unknown; set threads, dask or ray.")
        if not (address := environment.get(_ADDRESSES[runner], "")):
            raise ConfigError(
                f"DSKD_RUNNER={runner} and {_ADDRESSES[runner]} is not set; set it to the address "
                f"of the cluster, such as {_EXAMPLES[runner]}."
            )
        if runner == "dask" and "://" not in address:
            raise ConfigError(
                f"DSKD_DASK_ADDRESS={address!r} has no protocol; write tcp://{address}."
            )
        return cls(runner, address, slots)


def _slots(value: str | None) -> int | None:
    if not value:
        return None
    if not value.isdecimal() or int(value) < 1:
        raise ConfigError(f"DSKD_GPU_SLOTS={value!r} is no count; set a whole number from 1 on.")
    return int(value)


class ChosenRunner(TaskRunner[PrefectFuture[Any]]):
    """The task runner of a flow: each run of it takes the one the environment names then."""

    @redacting
    def duplicate(self) -> TaskRunner[Any]:  # type: ignore[override]
        """Return what Prefect runs the tasks of one flow run with.

        Raises:
            ConfigError: if the environment names no runner that can work here.
        """
        settings = RunnerSettings.from_environment(os.environ)
        if settings.runner == "threads":
            # Both branches, a shard that is written beside the next, and a task that waits for
            # all. More threads would not help: one device runs one teacher, and PyTorch uses all
            # cores by itself.
            return StoppableThreads(max_workers=4)
        if not PREFECT_API_URL.value():
            raise ConfigError(
                f"DSKD_RUNNER={settings.runner} needs a Prefect server that the workers reach, and "
                "PREFECT_API_URL is not set; start one (make serve) and set it to http://HOST:4200/api."
            )
        return _on_cluster(settings)

    def submit(self, task: Task[..., Any], *_: Any, **__: Any) -> Any:
        """Refuse: tasks go to a duplicate."""
        raise RuntimeError(f"{task.name} was submitted to a runner that was never started.")


def _on_cluster(settings: RunnerSettings) -> TaskRunner[Any]:
    try:
        if settings.runner == "dask":
            from flows.runners.dask import GpuDask

            return GpuDask(settings.address, settings.n_slots)
        from flows.runners.ray import GpuRay

        return GpuRay(settings.address, settings.n_slots)
    except ImportError as error:
        raise ConfigError(
            f"DSKD_RUNNER={settings.runner} needs a package that is not here ({error}); "
            f"pip install 'dskd[{settings.runner}]'."
        ) from error
