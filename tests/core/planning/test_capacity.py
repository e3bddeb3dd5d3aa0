"""A step of training against the memory of its device."""

import pytest

from dskd_core.config import PipelineConfig
from dskd_core.errors import CapacityError, ConfigError
from dskd_core.planning import capacity
from dskd_core.planning.capacity import check_gap, check_step
from dskd_core.training.student.shape import Shape
from tests.miniature import Built, make

LAYER = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64 + 2 * 32
"""Weights of a layer of the miniature: q, o; k, v of half as many heads; the MLP; two norms."""
POSITION = 2 * (2 * 64 + 6 * 32) * 4
"""Certain bytes of a position: half of 4 I + 12 d float32 values, in two trained layers."""


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Built:
    return Built(make(tmp_path_factory.mktemp("step")))


@pytest.fixture
def check(built, monkeypatch):
    """Check a step on a device of so many bytes."""

    def check(memory: float, text=None, **changes) -> None:
        monkeypatch.setattr(capacity, "memory_bytes", lambda _device: memory)
        training = built.config.training.model_copy(update=changes)
        check_step(training, built.config.teacher, built.untrained(), text)

    return check


def test_a_step_that_the_device_cannot_hold_is_refused_with_the_cure(built, check):
    counts = built.corpus().record.counts
    n_tokens = counts["n_tokens"] - counts["n_heldout_tokens"]
    window = n_tokens / (counts["n_windows"] - counts["n_heldout_windows"]) * POSITION
    fixed = 2 * LAYER * (4 + 4 + 8)  # weight, gradient and two moments
    check(fixed + 4 * window + 1, built.corpus())
    with pytest.raises(
        CapacityError, match=r"batch_windows 4,.*raise .*batch_windows to at most 3"
    ):
        check(fixed + 4 * window - 1, built.corpus())
    check(fixed + 4 * window - 1, built.corpus(), n_accumulated=2)
    with pytest.raises(CapacityError, match=r"; lower corpus\.window_tokens"):
        check(fixed + 0.5 * window, built.corpus())
    with pytest.raises(CapacityError, match=r"; lower student\.n_trainable_layers, or take"):
        check(fixed - 1)
    with pytest.raises(
        CapacityError, match=r"; lower student\.n_trainable_layers, or train.*ranks"
    ):
        check(2 * fixed - 1, n_ranks=2)  # which share the memory of a machine


def test_a_step_on_a_text_that_is_not_there_yet_is_let_pass_unless_no_window_could_fit(check):
    check(2 * LAYER * 16 + 4 * POSITION)
    with pytest.raises(CapacityError, match="windows at a time of 1 tokens"):
        check(2 * LAYER * 16 + 4 * POSITION - 1)


@pytest.mark.parametrize(
    ("student", "told"),
    [
        ({}, "skip none in between"),
        ({"layers": "first_last", "trainable_layers": "beside_cut"}, None),
        ({"layers": "first_last"}, "train only behind their widest gap"),
    ],
)
def test_a_plan_says_that_a_recipe_needs_a_gap_which_the_students_layers_do_not_have(student, told):
    config = PipelineConfig.model_validate(
        {"student": student, "evaluation": {"arms": ["kd", "recommended"]}}
    )
    shape = Shape.from_config(config.student, 8)
    if told is None:
        check_gap(config.training, shape)
        return
    with pytest.raises(ConfigError, match=told):
        check_gap(config.training, shape)
    check_gap(PipelineConfig().training, shape)
