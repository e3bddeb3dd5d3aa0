"""Tasks on a Ray cluster: a task of the GPU takes one GPU, and a process of its own."""

from contextlib import nullcontext
from typing import Any

import ray
from prefect import Task
from prefect_ray import RayTaskRunner
from prefect_ray.context import remote_options
from prefect_ray.task_runners import PrefectRayFuture

from flows.runners.threads import is_told_to_end
from flows.runners.worker_settings import without_secrets
from tasks.policy import needs_gpu


class GpuRay(RayTaskRunner):
    """The nodes of a Ray cluster; ``num_gpus`` keeps two tasks off one GPU.

    Ray ends the process of a GPU task with the task, to free the GPU's memory, so every shard loads
    the teacher anew: on Dask workers it stays loaded.
    """

    def __init__(self, address: str, n_slots: int | None = None) -> None:
        """Take the address of the head, and the most shards that are out at once."""
        super().__init__(address=address)
        self.n_slots = n_slots
        self._sent: list[Any] = []

    def duplicate(self) -> "GpuRay":
        """Return a runner of the same settings."""
        return type(self)(str(self.address), self.n_slots)

    def submit(self, task: Task[..., Any], *args: Any, **kwargs: Any) -> PrefectRayFuture[Any]:
        """Send a task to the cluster; one that needs a GPU waits for a free GPU."""
        needs = remote_options(num_gpus=1) if needs_gpu(task) else nullcontext()
        with needs, without_secrets():
            future = super().submit(task, *args, **kwargs)
        self._sent.append(future.wrapped_future)
        return future

    def __exit__(self, *args: Any) -> None:
        """End; if the flow was told to, the tasks that are out are cancelled before that."""
        if is_told_to_end(args[1]):
            for reference in self._sent:
                ray.cancel(reference)
        super().__exit__(*args)
