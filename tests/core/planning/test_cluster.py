"""Times on many GPUs, by hand from the stages of a plan."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from dskd_core.config import PipelineConfig
from dskd_core.planning.cluster import (
    JOINED_BYTES_A_SECOND,
    Cluster,
    StageTime,
    stage_times,
)
from dskd_core.planning.hours.hardware import Device
from dskd_core.planning.page import scaling_rows
from dskd_core.planning.plan import STORE_BYTES_PER_SECOND
from dskd_core.planning.quantities import StagePlan

GPU = Device("gpu", 1e12, 1e12, 10**9, 1e12, utilisation=1.0)
FREE = Cluster(
    GPU, 1, dispatch_seconds=0.0, task_seconds=0.0, store_bytes_per_second=1e18, n_cores=4
)


def plan(*stages: StagePlan) -> SimpleNamespace:
    """A plan in which every stage computes for 100 s on one GPU, and writes besides."""

    def hours(stage: StagePlan, _: Device) -> float:
        return (100.0 + stage.stored_bytes / STORE_BYTES_PER_SECOND) / 3600

    corpus = SimpleNamespace(n_tokens=5_000_000)
    settings = PipelineConfig.model_validate({"corpus": {"source": "hf:us/text"}})
    quantities = SimpleNamespace(config=settings, corpus=corpus)
    return SimpleNamespace(stages=stages, hours=hours, quantities=quantities)


def only(stages: SimpleNamespace, cluster: Cluster) -> tuple[float, str]:
    (found,) = stage_times(stages, cluster)
    return found.seconds, found.bound


def test_shards_take_as_many_rounds_as_there_are_gpus_for():
    ten = plan(StagePlan("students", n_shards=10))
    taken = [only(ten, replace(FREE, n_gpus=n)) for n in (1, 4, 10, 64)]
    assert taken == [
        (pytest.approx(100.0), "GPUs"),
        (pytest.approx(30.0), "GPUs"),  # three rounds, the last of two shards
        (pytest.approx(10.0), "GPUs"),
        (pytest.approx(10.0), "shards"),
    ]
    idle = replace(FREE, n_gpus=4, task_seconds=2.0)
    assert only(ten, idle)[0] == pytest.approx(3 * 12.0)


def test_the_server_hands_out_one_task_after_another():
    many = plan(StagePlan("students", n_shards=1000))
    assert only(many, replace(FREE, n_gpus=100, dispatch_seconds=0.5)) == (
        pytest.approx(500.0),
        "server",
    )


def test_all_workers_share_the_store():
    n_bytes = int(100 * STORE_BYTES_PER_SECOND)
    stage = plan(StagePlan("students", n_shards=100, stored_bytes=n_bytes))
    wide = replace(FREE, n_gpus=100)
    assert only(stage, wide)[0] == pytest.approx(1.0 + 1.0)  # a second each computing and writing
    shared = replace(wide, store_bytes_per_second=2 * STORE_BYTES_PER_SECOND)
    assert only(stage, shared) == (pytest.approx(1.0 + 50.0), "store")


def test_what_one_process_does_takes_as_long_on_any_number_of_gpus():
    stages = plan(StagePlan("corpus"), StagePlan("senses", n_shards=100, stored_bytes=2 * 10**9))
    writing = 2e9 / STORE_BYTES_PER_SECOND
    alone = StageTime("corpus", pytest.approx(100.0 + 1.0 + 5.0), "one process")
    for n in (1, 1000):
        corpus, senses = stage_times(stages, replace(FREE, n_gpus=n))
        assert corpus == alone
        assert senses.seconds == pytest.approx(
            100.0 / min(n, 100) + writing / min(n, 100) + 1e9 / JOINED_BYTES_A_SECOND
        )
    assert senses.bound == "one process"


def test_a_row_says_the_time_and_what_is_waited_for():
    rows = scaling_rows(plan(StagePlan("students", n_shards=10)), GPU, [1, 8])
    assert rows[0] == {"time of": "students", "1 GPU": "1.8 min (GPUs)", "8 GPUs": "22 s (GPUs)"}
    assert rows[1] == {"time of": "all", "1 GPU": "1.8 min", "8 GPUs": "22 s"}
