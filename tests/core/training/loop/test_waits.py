"""A step waits for its device once: counted on a CPU, see tests/waits.py."""

import numpy as np
import pytest
import torch

from dskd_core.config import TrainingConfig
from dskd_core.training.loop.step import Run
from tests.miniature import Built, make
from tests.waits import counted_waits

EVERY_TERM = [
    *({"term": name} for name in ("ce", "positive", "negative", "state_mse", "state_head_mse")),
    {"term": "ranking"},
    {"term": "state_cosine", "schedule": "linear"},
    {"term": "kl", "temperature": 1.0},
]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Built:
    built = Built(make(tmp_path_factory.mktemp("waits"), embeddings={"key": "next"}))
    built.inputs()
    return built


def run_of(built: Built, arm: str = "paper", **settings) -> Run:
    training = TrainingConfig.model_validate(built.config.training.model_dump() | settings)
    changed = Built(built.config.model_copy(update={"training": training}))
    return Run.prepare(changed.store, training, changed.config.teacher, changed.inputs(arm), arm, 0)


@pytest.mark.parametrize("n_windows", [1, 2, 4])
@pytest.mark.parametrize("mode", ["cached", "online"])
def test_a_step_waits_for_its_device_once_however_many_windows_it_has(built, mode, n_windows):
    run = run_of(built, mode=mode, batch_windows=n_windows)
    step = run.schedule.step(0)
    assert step.n_chosen > 1
    run.step(0)
    with counted_waits() as waits:
        row = run.step(1)
    assert +waits == {"tolist": 1}
    assert row["positive"] > 0.0


@pytest.mark.parametrize(
    ("arm", "settings"),
    [
        ("paper_no_hinge", {}),
        ("kd_mse", {"divergence": "jsd"}),
        ("mine", {"recipes": [{"name": "mine", "terms": EVERY_TERM}]}),
        ("mine", {"recipes": [{"name": "mine", "terms": EVERY_TERM}], "mode": "online"}),
        ("paper", {"n_accumulated": 3, "semantic_positions": "all", "max_grad_norm": None}),
    ],
)
def test_no_arm_waits_more_often_nor_do_accumulated_batches(built, arm, settings):
    run = run_of(built, arm, **settings)
    run.step(0)
    with counted_waits() as waits:
        row = run.step(1)
    assert +waits == {"tolist": 1}
    assert arm != "mine" or row["ranking"] > 0.0


def test_a_step_that_is_not_read_waits_for_nothing(built):
    run = run_of(built)
    with counted_waits() as waits:
        assert run.advance(0, reads=False) == run.advance(1, reads=False) == []
        assert +waits == {}
        rows = run.advance(2)
    assert len(rows) == 3
    assert +waits == {"tolist": 1}


def test_what_waits_is_counted():
    values = torch.ones(3)
    with counted_waits() as waits:
        labels = torch.cat([torch.from_numpy(np.arange(3))] * 2)
        labels.numpy(), labels.tolist(), labels.to("cpu", non_blocking=True)
        assert +waits == {}
        float(values.sum()), bool(values.any()), values[0].item(), values.cpu(), values.tolist()
        torch.nonzero(values), values[values > 0], values.numpy(), labels.to(values.device)
        torch.tensor([1.0], device="cpu")
    assert +waits == {
        **dict.fromkeys(("__float__", "__bool__", "item", "cpu", "tolist"), 1),
        **dict.fromkeys(("nonzero", "index", "numpy", "to", "tensor"), 1),
    }
