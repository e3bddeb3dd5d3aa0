"""What machines must have in common; what happens when one is lost is in tests/faults."""

from dataclasses import replace

import pytest

from dskd_core.errors import CapacityError, ConfigError, DataError
from dskd_core.training.ranks import ranks
from dskd_core.training.ranks.agreement import Facts
from dskd_core.training.ranks.launched import Launched
from dskd_core.training.ranks.machines import _error_from
from dskd_core.training.ranks.ranks import check_ranks

SETTINGS = {"root_uri": "/data", "training": {"learning_rate": 0.01, "n_ranks": 2}}
KIND = {"processor": "CUDA sm_90 (H100)", "torch": "2.13.0"}
HERE = Facts("gpu1", "/data", SETTINGS, KIND)
PLACE = Launched(rank=1, n_ranks=16, local_rank=1, n_local=8, host="gpu1", port=29400, name="dskd")


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({}, ""),
        (
            {"settings": SETTINGS | {"training": {"learning_rate": 0.1, "n_ranks": 2}}},
            "Rank 3 (gpu2) was started with training.learning_rate 0.1, and rank 0 (gpu1) with "
            "0.01; give all machines the same parameter file.",
        ),
        (
            {"root": "/home/bob/data"},
            "root_uri leads Rank 3 (gpu2) to /home/bob/data and rank 0 (gpu1) to /data; write it "
            "as an absolute path of storage that all machines share, or an s3:// prefix.",
        ),
        (
            {"kind": KIND | {"processor": "CUDA sm_80 (A100)"}},
            "Rank 3 (gpu2) has processor CUDA sm_80 (A100), and rank 0 (gpu1) CUDA sm_90 (H100): "
            "their weights would drift apart; take machines of one kind with the same packages.",
        ),
    ],
)
def test_a_machine_is_refused_for_what_would_change_the_student(changes, refusal):
    assert HERE.refusal_of(3, replace(HERE, host="gpu2", **changes)) == refusal


def test_the_number_of_processes_is_that_of_the_settings_and_each_has_a_processor(monkeypatch):
    monkeypatch.setattr(ranks, "launched", lambda: PLACE)
    monkeypatch.setattr(ranks, "usable_processors", lambda: 8)
    check_ranks(16, "cpu")
    with pytest.raises(ConfigError, match="n_ranks 8 is not what was started: 16 processes"):
        check_ranks(8, "cpu")
    monkeypatch.setattr(ranks, "usable_processors", lambda: 4)
    with pytest.raises(CapacityError, match=r"^8 processes on this machine .*, and there are 4"):
        check_ranks(16, "cpu")


def test_what_ended_another_rank_is_raised_as_it_was():
    assert isinstance(_error_from({"type": "DataError", "text": "x"}), DataError)
    other = _error_from({"type": "OutOfMemoryError", "text": "CUDA"})
    assert type(other) is RuntimeError
    assert str(other) == "OutOfMemoryError: CUDA"


def test_a_process_of_a_launcher_without_a_store_is_refused():
    said = {"TORCHELASTIC_RUN_ID": "dskd", "TORCHELASTIC_USE_AGENT_STORE": "False"}
    with pytest.raises(ConfigError, match=r"without a store .*; start it with dskd torchrun"):
        Launched.from_environment(said)
    assert Launched.from_environment({"RANK": "1", "WORLD_SIZE": "2"}) is None
