"""What all flows share: their default settings, and where their tasks run.

Where is a matter of the place and not of the run's content, so the environment says it, and a
deployment or a work pool sets it (``job_variables: {env: {...}}``):

    DSKD_RUNNER        threads (default), dask or ray
    DSKD_DASK_ADDRESS  the Dask scheduler, tcp://HOST:8786
    DSKD_RAY_ADDRESS   the Ray head, ray://HOST:10001, or auto on a machine of the cluster
    DSKD_GPU_SLOTS     most shards out at once on a cluster; as many as its workers hold if unset
"""

import inspect
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ParamSpec, Self, TypeVar

from prefect import Flow, Task, get_client
from prefect.context import FlowRunContext
from prefect.exceptions import TerminationSignal
from prefect.futures import PrefectFuture
from prefect.settings import PREFECT_API_URL
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.utilities.hashing import file_hash

from dskd_core import interruption
from dskd_core.config import PipelineConfig
from dskd_core.errors import ConfigError
from dskd_core.redaction import redact, redacted_value, redacting
from flows import shutdown

DEFAULTS = PipelineConfig()
P = ParamSpec("P")
R = TypeVar("R")
Made = dict[str, Any]
"""Stage -> URI of its artifact; a list of URIs for students and scores."""

_ADDRESSES = {"dask": "DSKD_DASK_ADDRESS", "ray": "DSKD_RAY_ADDRESS"}
_EXAMPLES = {"dask": "tcp://HOST:8786 (dask scheduler prints it)", "ray": "ray://HOST:10001"}


@dataclass(frozen=True)
class Place:
    """Where tasks run.

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
        """Read the place from the environment.

        Raises:
            ConfigError: if a value is wrong, or a cluster has no address.

        >>> Place.from_environment({"DSKD_RUNNER": "dask", "DSKD_DASK_ADDRESS": "tcp://gpu1:8786"}).n_slots
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


class StoppableThreads(ThreadPoolTaskRunner[Any]):
    """Threads that end at their next safe place when the flow is told to end.

    Prefect turns SIGTERM (``docker stop``, a worker's cancel), Ctrl-C and, by shutdown.py, SIGHUP
    into an exception in the main thread, closes the task runner, which waits for its threads, and
    then ends the run as crashed or cancelled. So a step in training is finished and saved while
    Prefect waits. What has nothing to save is soon left behind, and whoever is in a hurry sends the
    signal again. Where no server hears of the end, the process ends without.
    """

    n_slots = 1

    def __enter__(self) -> "StoppableThreads":
        """Begin; what an earlier run of this process was told does not count."""
        interruption.clear()
        super().__enter__()
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        """End: tell the threads to stop, if the flow was told so, and wait for them.

        Raises:
            TerminationSignal: after Ctrl-C, if a task did not stop: Python would wait for it.
        """
        if not is_told_to_end(exc_value):
            return super().__exit__(exc_type, exc_value, traceback)
        interruption.request()
        number = exc_value.signal if isinstance(exc_value, TerminationSignal) else signal.SIGINT
        watch = shutdown.watch_server(str(get_client(sync_client=True).api_url), number)
        shutdown.end_at_second_signal(lambda: not watch.is_alive())
        end = super().__exit__
        closing = threading.Thread(target=end, args=(exc_type, exc_value, traceback), daemon=True)
        closing.start()
        deadline = time.monotonic() + shutdown.TASK_SECONDS
        while closing.is_alive() and (interruption.is_finishing() or time.monotonic() < deadline):
            closing.join(0.1)
        watch.saved()
        if closing.is_alive() and isinstance(exc_value, KeyboardInterrupt):
            raise TerminationSignal(signal=number) from exc_value
        return None


class Configured(TaskRunner[PrefectFuture[Any]]):
    """The task runner of a flow: each run of it takes the one the environment names then."""

    @redacting
    def duplicate(self) -> TaskRunner[Any]:  # type: ignore[override]
        """Return what Prefect runs the tasks of one flow run with.

        Raises:
            ConfigError: if the environment names no runner that can work here.
        """
        place = Place.from_environment(os.environ)
        if place.runner == "threads":
            # Both branches, and a task that waits for both. More threads would not help: one
            # device runs one teacher, and PyTorch uses all cores by itself.
            return StoppableThreads(max_workers=3)
        if not PREFECT_API_URL.value():
            raise ConfigError(
                f"DSKD_RUNNER={place.runner} needs a Prefect server that the workers reach, and "
                "PREFECT_API_URL is not set; start one (make serve) and set it to http://HOST:4200/api."
            )
        return _on_cluster(place)

    def submit(self, task: Task[..., Any], *_: Any, **__: Any) -> Any:
        """Refuse: tasks go to a duplicate."""
        raise RuntimeError(f"{task.name} was submitted to a runner that was never started.")


def _on_cluster(place: Place) -> TaskRunner[Any]:
    try:
        if place.runner == "dask":
            from flows.runners.dask import GpuDask

            return GpuDask(place.address, place.n_slots)
        from flows.runners.ray import GpuRay

        return GpuRay(place.address, place.n_slots)
    except ImportError as error:
        raise ConfigError(
            f"DSKD_RUNNER={place.runner} needs a package that is not here ({error}); "
            f"pip install 'dskd[{place.runner}]'."
        ) from error


def is_told_to_end(error: BaseException | None) -> bool:
    """Say whether this is what Prefect makes of SIGTERM, SIGHUP or Ctrl-C."""
    return isinstance(error, TerminationSignal | KeyboardInterrupt)


def configured() -> Configured:
    """Return the task runner of a flow."""
    return Configured()


class RedactedFlow(Flow[P, R]):
    """A flow that repeats no secret of its parameters."""

    @redacting
    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters as what the flow takes.

        Raises:
            ParameterTypeError: if one is refused.
        """
        return super().validate_parameters(parameters)

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters of a run that this process begins, as the server keeps them."""
        return dict(redacted_value(super().serialize_parameters(parameters)))


def dskd_flow(flow_run_name: str) -> Callable[[Callable[P, R]], RedactedFlow[P, R]]:
    """Return a decorator that makes a flow of ours: its name, its runner, no secrets.

    Args:
        flow_run_name: what a run is called, by its parameters: ``tidy {config.root_uri}``.
    """

    @redacting
    def named() -> str:
        context = FlowRunContext.get()
        return redact(flow_run_name.format(**(context.parameters if context else {})))

    def make(function: Callable[P, R]) -> RedactedFlow[P, R]:
        return RedactedFlow(
            redacting(function),
            name="dskd",
            flow_run_name=named,
            task_runner=configured(),
            version=file_hash(inspect.getfile(function)),
        )

    return make
