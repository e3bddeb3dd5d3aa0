"""How many processors this process may use, and torch's threads brought down to that.

Torch starts a thread for every processor it sees. In a container that may use two of sixty-four,
sixty-four threads share two processors, and each product waits for the last of them. The affinity
mask (``taskset``, a cpuset) and the quota of the control group (``docker run --cpus``, a limit of
Kubernetes) say what is really there.
"""

import logging
import math
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

import torch

_log = logging.getLogger(__name__)


def limit_threads() -> None:
    """Lower torch's threads to the processors this process may use; never raise them.

    A number that was set before, by ``OMP_NUM_THREADS`` or ``torch.set_num_threads``, stays
    wherever it is smaller.
    """
    usable, n_threads = usable_processors(), torch.get_num_threads()
    if usable < n_threads:
        torch.set_num_threads(usable)
        _log_once(f"torch computes with {usable} threads, not {n_threads}: no more processors.")


@cache
def usable_processors(root: Path = Path("/")) -> int:
    """Return how many processors the affinity mask and the quota let this process use at a time.

    A quota of part of a processor counts as the whole of it: threads are throttled together, so
    one more uses the part.
    """
    mask = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = cpu_quota(root)
    return max(1, min(mask or 1, math.ceil(quota) if quota else mask or 1))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return the processors that the control groups of this process grant, None if any number.

    A group is bound by those around it too, so the smallest quota on the way up counts. Groups of
    a container are often named in ``/proc`` as the host knows them, where only the outermost folder
    is to be seen: that is the container's own.

    Args:
        root: where ``proc`` and ``sys`` are.
    """
    quotas = [quota for folder in _groups(root) if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _groups(root: Path) -> Iterator[Path]:
    """Yield the folders of the groups that limit this process, of version 2 and 1."""
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        hierarchies = (controllers, "cpu") if controllers else ("", "unified")
        inside = PurePosixPath(group.lstrip("/"))
        for hierarchy in hierarchies:
            for part in (inside, *inside.parents):
                yield root / "sys/fs/cgroup" / hierarchy / part


def _quota(folder: Path) -> float | None:
    """Return the quota of a group in processors, None where it has none."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text("ascii").split()
        else:
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            quota, period = ((folder / name).read_text("ascii").strip() for name in names)
        return float(quota) / float(period) if float(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # absent, or the word max
        return None


@cache
def _log_once(sentence: str) -> None:
    _log.info("%s", sentence)
