"""Where a cached step goes: torch's profiler over single steps, its operations put into parts.

Self seconds of each operation by the clock, so the parts add up to the step as profiled, which is
somewhat slower than one that nobody watches. Products are what ``products`` times alone.
"""

from collections import defaultdict
from typing import Any

from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.peers.arms import prepared
from benchmarks.peers.process import Tick
from benchmarks.peers.scenario import Scenario

PARTS = (
    "head: products",
    "head: element-wise",
    "layers: products",
    "layers: attention",
    "layers: element-wise and casts",
    "optimiser",
    "data",
)
_PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm")
_DATA, _OPTIMISER, _HEAD = "dskd::data", "Optimizer.step", "_Distillation"


def train(scenario: Scenario, tick: Tick) -> None:
    """Profile steps; a tick tells the milliseconds of each part."""
    run = prepared(scenario, "cached", "kd")
    read = run.batch

    def reading(*args: Any) -> Any:
        with record_function(_DATA):
            return read(*args)

    run.batch = reading  # type: ignore[assignment,method-assign]
    number = 0
    while True:
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            run.step(number)
        number += 1
        tick(**parts(profiled.events()))


def parts(events: Any) -> dict[str, float]:
    """Return the self milliseconds of each part."""
    found: defaultdict[str, float] = defaultdict(float)
    for event in events:
        found[_part(event)] += event.self_cpu_time_total / 1e3
    return {name: found[name] for name in PARTS}


def _part(event: Any) -> str:
    """Return the part of an operation: its own name, or whose inside it runs."""
    around = set()
    outer = event
    while outer is not None:
        around.add(outer.name.split("#")[0])
        outer = outer.cpu_parent
    where = "head" if _HEAD in around else "layers"
    if _DATA in around:
        return "data"
    if _OPTIMISER in around:
        return "optimiser"
    if event.name in _PRODUCTS:
        return f"{where}: products"
    if any("scaled_dot_product" in name for name in around):
        return "layers: attention"
    return "head: element-wise" if where == "head" else "layers: element-wise and casts"
