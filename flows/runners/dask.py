"""Tasks on a Dask cluster: a task of the GPU takes one GPU that a worker holds."""

import time
import weakref
from pathlib import Path
from typing import Any

import dask
from distributed import Future, Worker
from prefect import Task, get_run_logger
from prefect.runtime import flow_run
from prefect_dask import DaskTaskRunner
from prefect_dask.task_runners import PrefectDaskFuture

from dskd_core import interruption
from dskd_core.config import PipelineConfig
from dskd_core.errors import ConfigError
from dskd_core.redaction import redacting
from dskd_core.store import places
from flows.runners.threads import is_told_to_end
from flows.runners.worker_settings import without_secrets
from tasks.policy import needs_gpu

RESOURCE = "GPU"
_POLL_SECONDS = 0.2


class GpuDask(DaskTaskRunner):
    """The workers of a Dask cluster; those with a GPU are started with ``--resources GPU=1``.

    Dask runs the tasks of a worker that died again on another; Prefect retries a task that
    failed, on the worker it failed on.
    """

    def __init__(self, address: str, n_slots: int | None = None) -> None:
        """Take the address of a scheduler, and the most shards that are out at once."""
        super().__init__(address=address)
        self.n_slots = n_slots
        self._run = ""
        self._knows_gpu = False
        self._sent: weakref.WeakSet[Future] = weakref.WeakSet()

    def duplicate(self) -> "GpuDask":
        """Return a runner of the same settings."""
        return type(self)(str(self.address), self.n_slots)

    @redacting
    def submit(
        self, task: Task[..., Any], parameters: dict[str, Any], *args: Any, **kwargs: Any
    ) -> PrefectDaskFuture[Any]:
        """Send a task to the cluster; one that needs a GPU waits for a free GPU.

        Raises:
            ConfigError: if its root is relative and a worker stands in another folder.
        """
        if not self._run:
            self._run = flow_run.id or ""
            self._check_root(parameters.get("config"))
        needs: dict[str, Any] = {"resources": {RESOURCE: 1}} if needs_gpu(task) else {}
        if needs and not self._knows_gpu:
            self._look_for_gpu(task.name)
        with dask.annotate(**needs), without_secrets():
            future = super().submit(task, parameters, *args, **kwargs)
        self._sent.add(future.wrapped_future)
        return future

    def _look_for_gpu(self, name: str) -> None:
        """Say once what is waited for, if no worker holds a GPU yet."""
        self._knows_gpu = True
        workers = self.client.scheduler_info()["workers"].values()
        if not any(worker["resources"].get(RESOURCE) for worker in workers):
            get_run_logger().warning(
                f"No worker at {self.address} holds a {RESOURCE}; {name} waits until one does: "
                f"dask worker {self.address} --resources {RESOURCE}=1"
            )

    def _check_root(self, config: Any) -> None:
        if not isinstance(config, PipelineConfig) or places.is_remote(config.root_uri):
            return
        if Path(config.root_uri).expanduser().is_absolute():
            return
        here = Path.cwd()
        for worker, folder in self.client.run(Path.cwd, on_error="ignore").items():
            if folder != here:
                raise ConfigError(
                    f"root_uri {config.root_uri!r} is relative, and the worker {worker} stands in "
                    f"{folder}, not in {here}; give a path that all machines share, or s3://."
                )

    def __exit__(self, *args: Any) -> None:
        """End; if the flow was told to, its tasks end at their next safe place before that."""
        if is_told_to_end(args[1]) and self._client:
            self._stop()
        super().__exit__(*args)

    def _stop(self) -> None:
        """Cancel what has not begun, interrupt what has, and wait for that to end."""
        sent = list(self._sent)
        ours = {future.key for future in sent}
        self.client.run(interruption.request, self._run, on_error="ignore")
        self.client.cancel(sent)
        while any(ours & keys for keys in self.client.run(_executing, on_error="ignore").values()):
            time.sleep(_POLL_SECONDS)
        self.client.run(interruption.clear, self._run, on_error="ignore")


def _executing(dask_worker: Worker) -> set[Any]:
    return set(dask_worker.active_threads.values())
