"""What a Dask worker of the tests loads first: it writes down what runs on it, and may hang.

A line of ``$DSKD_WATCH/PID.txt`` is one call of the core that fills a device: name, begin, end (on
the clock all processes share) and how often this process has loaded a model. The first worker that
is half through the shard in ``$DSKD_WATCH/hang`` waits there to be killed.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import dskd_core.embeddings.store as extraction
import dskd_core.senses.store as clustering
from dskd_core.decoder import decoder
from dskd_core.shards import Shard

FOLDER = Path(os.environ.get("DSKD_WATCH", ""))
FILLING = [(extraction, "extract_shard"), (clustering, "cluster_range")]


def watched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        shard = next((a for a in args if isinstance(a, Shard)), None)
        title = f"{name} {shard.name}" if shard else name
        if (FOLDER / "hang").exists() and (FOLDER / "hang").read_text() == title:
            kwargs["progress"] = hanging
        began = time.monotonic()
        try:
            return function(*args, **kwargs)
        finally:
            loads = decoder._load.cache_info().misses
            with (FOLDER / f"{os.getpid()}.txt").open("a") as file:
                file.write(f"{title}\t{began}\t{time.monotonic()}\t{loads}\n")

    return call


def hanging(*_: Any, **__: Any) -> None:
    try:
        (FOLDER / "hangs").open("x").write(str(os.getpid()))
    except FileExistsError:
        return
    time.sleep(600)


if "DSKD_WATCH" in os.environ:
    torch.set_num_threads(1)
    for module, name in FILLING:
        setattr(module, name, watched(name, getattr(module, name)))
