"""What L_sem adds: arms of dskd take the same step in turns, in one process.

One process, because a few percent are less than two processes differ by on one machine: its
libraries, its memory and its neighbours are then the same, and step i of one arm has the step i of
the other beside it. A tick is a whole turn, every other one backwards, and tells seconds by arm.
"""

import time

from benchmarks.peers.process import Tick
from benchmarks.peers.scenario import (
    EVERYWHERE,
    PAPER_RELATIONS,
    RELATIONS,
    Scenario,
    Stages,
    changed,
    with_relations,
)
from dskd_core.config import Arm
from dskd_core.training.activations.store import Mode
from dskd_core.training.loop.step import Run


def train(scenario: Scenario, tick: Tick, mode: Mode = "cached") -> None:
    """Let KD, and DSKD with each number of relations, step in turns; online the paper's alone."""
    relations = RELATIONS if mode == "cached" else (PAPER_RELATIONS,)
    arms = {"kd": prepared(scenario, mode, "kd")}
    arms |= {str(most): prepared(scenario, mode, "paper", most) for most in relations}
    if mode == "cached":
        arms[EVERYWHERE] = prepared(scenario, mode, "paper", semantic_positions="all")
    number = 0
    while True:
        seconds = {}
        for name in list(arms)[:: -1 if number % 2 else 1]:
            started = time.perf_counter()
            arms[name].step(number)
            seconds[name] = time.perf_counter() - started
        number += 1
        tick(**seconds)


def prepared(
    scenario: Scenario, mode: Mode, arm: Arm, most: int = PAPER_RELATIONS, **training: str
) -> Run:
    """Return the run of an arm in a mode, before its first step."""
    config = with_relations(scenario.config, most)
    stages = Stages(changed(config, "training", mode=mode, **training))
    settings = (stages.store, stages.config.training, config.teacher, stages.inputs(mode))
    return Run.prepare(*settings, arm, 0)
