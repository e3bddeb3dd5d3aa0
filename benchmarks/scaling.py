"""What a second worker adds, and what hundreds of GPUs would wait for.

    python -m benchmarks.scaling [--shards 12] [--seconds 8] [--page docs/images/scaling.png]

Measured: a flow of the project's own runner sends shards to a Dask cluster on loopback, of one
worker process and then of two, with Prefect's server beside it. A shard is a stand-in for a teacher
on a GPU: it waits so many seconds, which costs no processor, and publishes 4 MB that its number
decides. Both clusters' artifacts are compared, byte for byte. With shards that wait for nothing it
is seen how long a worker is idle between two, and how many seconds of a core the server and the
process of the flow take for each: these two do tasks one after another, so they are the limit of
many workers.

Simulated: ``dskd_core.planning.cluster``, with these seconds, for Llama-3-8B on 1 to 4,096 GPUs;
docs/scaling.md shows what comes out. ``--page`` draws it.

The last line is JSON: ``throughput_ratio`` (two workers over one; goal >= 1.8), ``task_s`` (idle
between two shards), ``server_s`` and ``flow_s`` (of a core, a task), and ``hours`` of all stages by
the number of GPUs.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.machine import machine
from dskd_core.config import load_config
from dskd_core.planning.cluster import Cluster, stage_times
from dskd_core.planning.hours.hardware import named_gpu
from dskd_core.planning.plan import make_plan
from dskd_core.store.arrays import put_array
from dskd_core.store.artifacts import ArtifactStore, Work
from flows.settings import use_own_prefect

ROOT = Path(__file__).parents[1]
GOAL = 1.8
GPU = "H100-80GB"
COUNTS = tuple(1 << power for power in range(13))
_SHOWN = (1, 8, 64, 512)


def stand_in(root: str, number: int, seconds: float) -> str:
    """Wait as long as a GPU would compute, and publish a shard; return its URI."""
    time.sleep(seconds)
    store, work = ArtifactStore(root), Work("stand-in", {"number": number}, {})
    with store.publish(work) as draft:
        rng = np.random.default_rng(number)
        put_array(draft.write_group("part.zarr"), "states", rng.random((1024, 1024), np.float32))
    return store.get(work.stage, work.fingerprint).uri


@contextmanager
def prefect_server(folder: Path) -> Iterator[tuple[str, int]]:
    """Start Prefect's server on loopback, which workers reach; yield its address and process id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    command = ["server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", *command], stdout=log, stderr=log, cwd=folder
        )
    try:
        deadline = time.monotonic() + 250
        while not _answers(url):
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit(f"Prefect's server did not start: {log.name} says why.")
            time.sleep(0.5)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=3):
            return True
    except OSError:
        return False


@contextmanager
def dask_cluster(folder: Path, n_workers: int) -> Iterator[str]:
    """Start a scheduler and workers of one GPU each on loopback; yield the address."""
    from distributed import Client

    place, processes = folder / "scheduler.json", list[subprocess.Popen[bytes]]()
    loopback = ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0")
    worker = ("worker", "--scheduler-file", str(place), "--no-nanny", "--nthreads", "1")
    commands = [
        ("scheduler", *loopback, "--port", "0", "--scheduler-file", str(place)),
        *[(*worker, "--resources", "GPU=1", *loopback)] * n_workers,
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    try:
        for command in commands:
            preload = ("--preload", "benchmarks.scaling")
            with (folder / f"{command[0]}.log").open("a") as log:
                processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "dask", *command, *preload],
                        env=environment,
                        cwd=ROOT,
                        stdout=log,
                        stderr=log,
                    )
                )
        with Client(scheduler_file=str(place), timeout=250, set_as_default=False) as client:
            client.wait_for_workers(n_workers, timeout=250)
            yield str(client.scheduler.address)
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


def core_seconds(process_id: int) -> float:
    """Return the seconds of a core that a process and its children have used."""
    process = psutil.Process(process_id)
    family = [process, *process.children(recursive=True)]
    return sum(sum(each.cpu_times()[:2]) for each in family)


@dataclass(frozen=True)
class Timed:
    """Shards on a cluster.

    Attributes:
        seconds: from the first to the last.
        server, flow: of a core, that these used meanwhile.
        content: hashes of what was published.
    """

    seconds: float
    server: float
    flow: float
    content: list[str]


def timed(folder: Path, server: int, n_workers: int, n_shards: int, seconds: float) -> Timed:
    """Run shards on a cluster of its own.

    Prefect, the cluster and a first task on every worker start before, and are not counted. The
    server is named by its process id: the flow travels to the workers, and so must what it holds.
    """
    from prefect import flow, get_client

    from flows.runners.choice import ChosenRunner
    from tasks.policy import GPU_LIMIT, gpu_task
    from tasks.shards import in_slots

    task = gpu_task(name="stand-in", task_run_name="stand-in {number}")(stand_in)
    folder.mkdir()

    @flow(name="shards", task_runner=ChosenRunner())
    def shards() -> tuple[float, float, float, list[str]]:
        root = str(folder / "artifacts")
        warm = {f"warm {n}": (f"{root}-warm", n, 2.0) for n in range(n_workers)}
        in_slots("warm", task, warm)
        began, own, its = time.perf_counter(), time.process_time(), core_seconds(server)
        uris = in_slots("shards", task, {str(n): (root, n, seconds) for n in range(n_shards)})
        took = time.perf_counter() - began
        return took, core_seconds(server) - its, time.process_time() - own, uris

    with dask_cluster(folder, n_workers) as address:
        os.environ |= {"DSKD_RUNNER": "dask", "DSKD_DASK_ADDRESS": address}
        with get_client(sync_client=True) as client:
            client.upsert_global_concurrency_limit_by_name(GPU_LIMIT, n_workers)
        *took, uris = shards()
    return Timed(*took, [ArtifactStore.open(uri).record.content for uri in uris])


def measure(options: argparse.Namespace, folder: Path, server: int) -> dict[str, float]:
    """Time one worker and two, and shards that wait for nothing."""
    one, two = (timed(folder / str(n), server, n, options.shards, options.seconds) for n in (1, 2))
    if one.content != two.content:
        raise SystemExit("Two workers published other bytes than one.")
    ratio = one.seconds / two.seconds
    print(f"{options.shards} shards of {options.seconds:g} s: {one.seconds:.1f} s on one worker,")
    print(f"  {two.seconds:.1f} s on two: {ratio:.2f} times the throughput, goal >= {GOAL}")
    n = options.empty
    empty = timed(folder / "empty", server, 2, n, 0.0)
    found = {
        "throughput_ratio": ratio,
        "one_worker_s": one.seconds,
        "two_workers_s": two.seconds,
        "task_s": 2 * empty.seconds / n,
        "server_s": empty.server / n,
        "flow_s": empty.flow / n,
    }
    print(f"an empty shard: {found['task_s']:.2f} s of a worker, {found['server_s']:.3f} s of the")
    print(f"  server's core, {found['flow_s']:.3f} s of the flow's")
    return {name: round(value, 4) for name, value in found.items()}


def simulate(dispatch_seconds: float, task_seconds: float) -> dict[int, dict[str, float]]:
    """Return the hours of every stage of the plan for Llama-3-8B, by the number of GPUs."""
    config = load_config(ROOT / "deployments" / "parameters" / "llama3-8b.yaml")
    device = named_gpu(GPU)
    plan = make_plan(config, device=device)
    by_count = {}
    for n in COUNTS:
        times = stage_times(plan, Cluster(device, n, dispatch_seconds, task_seconds))
        by_count[n] = {time.stage: time.seconds / 3600 for time in times}
        if n in _SHOWN:
            longest = sorted(times, key=lambda time: -time.seconds)[:3]
            told = ", ".join(f"{t.stage} {t.seconds / 60:.1f} min ({t.bound})" for t in longest)
            print(f"{n:5,} GPUs: {sum(by_count[n].values()):6.2f} h; longest: {told}")
    return by_count


def draw(by_count: dict[int, dict[str, float]], path: Path) -> None:
    """Draw the hours of all stages, and of each that ever takes a tenth of them."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    totals = [sum(hours.values()) for hours in by_count.values()]
    axes.plot(COUNTS, totals, color="black", linewidth=2, label="all stages")
    axes.plot(COUNTS, [totals[0] / n for n in COUNTS], "k:", label="all, if all of it scaled")
    for stage in by_count[1]:
        hours = [every[stage] for every in by_count.values()]
        if max(h / t for h, t in zip(hours, totals, strict=True)) > 0.1:
            axes.plot(COUNTS, hours, label=stage)
    axes.set(xscale="log", yscale="log", xlabel="H100 GPUs", ylabel="hours", ylim=(0.01, 30))
    axes.set_xticks(_SHOWN, [str(n) for n in _SHOWN])
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run the benchmark and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shards", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--empty", type=int, default=24)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    found: dict[str, Any] = dict(machine())
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        os.environ.setdefault("PREFECT_HOME", str(Path(name, "prefect")))
        use_own_prefect()
        with prefect_server(Path(name)) as (url, server):
            from prefect.settings import PREFECT_API_URL, temporary_settings

            os.environ["PREFECT_API_URL"] = url  # for the workers
            with temporary_settings({PREFECT_API_URL: url}):
                found |= measure(options, Path(name), server)
    by_count = simulate(max(found["server_s"], found["flow_s"]), found["task_s"])
    if options.page:
        draw(by_count, options.page)
    found["hours"] = {str(n): round(sum(hours.values()), 3) for n, hours in by_count.items()}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
