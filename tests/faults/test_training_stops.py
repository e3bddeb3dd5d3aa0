"""Training that is killed, or asked to stop, at any step ends with the bytes of an undisturbed run.

All inputs stand already; every life is a process of its own.
"""

import shutil
import signal
from collections.abc import Callable, Iterator

import pytest

from dskd_core.config import PipelineConfig, TrainingConfig
from dskd_core.store.artifacts import Artifact, ArtifactStore
from tests.faults.learner import STOPPED, learn
from tests.faults.lives import lives
from tests.miniature import Built, make

Life = Callable[..., int]

KILLED, ASKED = signal.SIGKILL, signal.SIGTERM
ONE_RANK = {"n_accumulated": 2, "validation_steps": 2, "keep": "best", "checkpoint_steps": 3} | {
    "n_checkpoints": 2,
    "max_loss_growth": 1e6,
    "learning_rate": 0.1,
}
TWO_RANKS = {"n_ranks": 2, "n_accumulated": 2, "validation_steps": 3, "keep": "best"} | {
    "checkpoint_steps": 4,
}
# How each life ends (signal, after which of 16 steps), and the checkpoints it leaves: of every
# third or fourth step, and of the step that was under way when it was asked to stop.
ENDS = {
    "one rank": [
        ((KILLED, 1), []),
        ((KILLED, 4), [3]),
        ((ASKED, 4), [3, 5]),
        ((KILLED, 14), [9, 12]),
        ((ASKED, 15), [15, 16]),
    ],
    "two ranks": [((KILLED, 5), [4]), ((ASKED, 6), [7])],
}


@pytest.fixture(scope="module")
def life() -> Iterator[Life]:
    with lives(learn, seconds=200) as life:
        yield life


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> PipelineConfig:
    """A miniature in which everything stands that a student is made from."""
    config = make(tmp_path_factory.mktemp("stops"))
    Built(config).inputs()
    return config


def two_roots(inputs, folder, settings) -> tuple[PipelineConfig, PipelineConfig]:
    """Two roots with the same inputs and settings: one is left in peace, the other is not."""
    training = TrainingConfig.model_validate(inputs.training.model_dump() | settings)
    configs = []
    for name in ("calm", "stopped"):
        shutil.copytree(inputs.root_uri, folder / name)
        changes = {"root_uri": str(folder / name), "training": training}
        configs.append(inputs.model_copy(update=changes))
    return configs[0], configs[1]


def student(config: PipelineConfig) -> Artifact:
    (made,) = ArtifactStore(config.root_uri).of_stage("student")
    return made


def checkpoints(config: PipelineConfig) -> list[int]:
    found = ArtifactStore(config.root_uri).of_stage("checkpoint")
    return sorted(a.record.config["step"] for a in found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "ends"),
    [(ONE_RANK, ENDS["one rank"]), (TWO_RANKS, ENDS["two ranks"])],
    ids=list(ENDS),
)
def test_stopped_anywhere_it_ends_with_the_same_bytes(settings, ends, inputs, tmp_path, life):
    calm, stopped = two_roots(inputs, tmp_path, settings)
    assert life(calm) == 0
    assert student(calm).record.counts["steps"] == 16
    for (number, step), left in ends:
        assert life(stopped, number, step) == (STOPPED if number == ASKED else -KILLED)
        assert checkpoints(stopped) == left, f"after {number.name} at step {step}"
    assert life(stopped) == 0
    assert student(stopped).record.files == student(calm).record.files
    assert checkpoints(stopped) == []
