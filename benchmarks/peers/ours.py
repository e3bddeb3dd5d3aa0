"""dskd itself: ``train_student``, stopped when enough steps are timed."""

from benchmarks.peers.process import Tick
from benchmarks.peers.scenario import PAPER_RELATIONS, Scenario, Stages, changed, with_relations
from dskd_core.config import Arm
from dskd_core.training.activations.store import Mode
from dskd_core.training.loop.loop import train_student


def train(
    scenario: Scenario,
    tick: Tick,
    mode: Mode = "cached",
    arm: Arm = "kd",
    relations: int = PAPER_RELATIONS,
    **training: float | str,
) -> None:
    """Train one arm in one mode; ``training`` changes settings of that stage."""
    config = with_relations(scenario.config, relations)
    stages = Stages(changed(config, "training", mode=mode, **training))

    def progress(n_done: int, n_total: int, unit: str, **measures: float) -> None:
        if unit == "steps":
            tick(**measures)

    train_student(
        stages.store,
        stages.config.training,
        config.teacher,
        stages.inputs(mode),
        arm=arm,
        seed=0,
        progress=progress,
    )
