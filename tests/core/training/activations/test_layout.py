import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import torch
import zarr

from dskd_core.corpus.store import Windows
from dskd_core.errors import DataError
from dskd_core.training.activations.capture import WindowActivations
from dskd_core.training.activations.layout import StoredShard, position_bytes, write_shard
from dskd_core.training.losses.targets import TeacherTargets

WINDOWS = Windows(
    token_ids=np.arange(9, dtype=np.int32),
    offsets=np.array([0, 4, 6, 9]),
    documents=np.array([0, 0, 1], np.int32),
    starts=np.array([0, 4, 0], np.int32),
    heldout=np.array([False, False, True]),
    document_hashes=np.array([11, 2**64 - 1], np.uint64),
    prefix=(),
)


def captured(window: int, d: int = 3) -> WindowActivations:
    n = int(WINDOWS.lengths[window])
    states = window + torch.arange(n * d).view(n, d) / 8  # bfloat16 and float16 hold them exactly
    ids = torch.arange(n)
    targets = TeacherTargets(states + 2, ids / 4 + window, ids + 70_000)
    return WindowActivations(window, ids - 1, ids % 3, states, states + 1, targets)


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_windows_come_back_as_they_were_captured(tmp_path, dtype, in_memory):
    group = zarr.create_group(str(tmp_path / "part.zarr"))
    assert write_shard(group, WINDOWS, [captured(2), captured(0)], dtype) == 3 + 4
    shard = StoredShard(group, in_memory=in_memory)
    assert shard.windows.tolist() == [0, 2]
    assert shard.document_hashes.tolist() == [11, 2**64 - 1]
    assert shard.heldout.tolist() == [False, True]
    for index, window in enumerate((0, 2)):
        found, expected = dict(vars(shard.read(index))), dict(vars(captured(window)))
        found |= vars(found.pop("targets"))
        expected |= vars(expected.pop("targets"))
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            stored = found[name].to(value.dtype) if isinstance(value, torch.Tensor) else found[name]
            torch.testing.assert_close(stored, value, rtol=0, atol=0)


def test_a_position_takes_the_bytes_that_are_planned_for_it(tmp_path):
    group = zarr.create_group(str(tmp_path / "part.zarr"))
    n_positions = write_shard(group, WINDOWS, [captured(0, d=64)], "bfloat16")
    by_window = {"windows", "documents", "heldout", "offsets"}
    stored = sum(array.nbytes for name, array in group.arrays() if name not in by_window)
    assert stored == n_positions * position_bytes(64)


def test_the_state_behind_a_gap_comes_back_too_in_the_bytes_planned_for_it(tmp_path):
    group = zarr.create_group(str(tmp_path / "part.zarr"))
    windows = [replace(one, bridge=one.teacher_states + 5) for one in (captured(2), captured(0))]
    n_positions = write_shard(group, WINDOWS, windows, "bfloat16")
    for in_memory in (True, False):
        shard = StoredShard(group, in_memory=in_memory)
        assert torch.equal(shard.read(1).bridge.float(), windows[0].bridge)
    assert group["bridge"][:].nbytes == 2 * 3 * n_positions
    assert position_bytes(64, reads_gap=True) - position_bytes(64) == 2 * 64


def test_targets_of_other_temperatures_come_back_in_the_bytes_planned_for_them(tmp_path):
    group = zarr.create_group(str(tmp_path / "part.zarr"))
    others = {0.5: 3, 1.0: 4}
    windows = []
    for number in (2, 0):
        one = captured(number, d=64)
        softer = {
            t: TeacherTargets(
                one.targets.expected + n, one.targets.entropy + n, one.targets.predicted
            )
            for t, n in others.items()
        }
        windows.append(replace(one, other_targets=softer))
    n_positions = write_shard(group, WINDOWS, windows, "bfloat16")
    for in_memory in (True, False):
        found = StoredShard(group, in_memory=in_memory).read(1)
        assert found.other_targets.keys() == others.keys()
        assert torch.equal(found.targets.expected.float(), windows[0].targets.expected)
        for t, targets in windows[0].other_targets.items():
            for name, value in vars(targets).items():
                assert torch.equal(getattr(found.other_targets[t], name).to(value.dtype), value)
    by_window = {"windows", "documents", "heldout", "offsets"}
    stored = sum(array.nbytes for name, array in group.arrays() if name not in by_window)
    assert stored == n_positions * position_bytes(64, n_others=2)


def test_a_nan_is_refused_with_the_name_of_its_shard(tmp_path):
    bad = dataclasses.replace(captured(1), teacher_states=torch.full((2, 3), torch.nan))
    group = zarr.create_group(str(tmp_path / "part.zarr"))
    with pytest.raises(DataError, match=r"Shard '3-of-4' has .*; set teacher\.dtype to float32"):
        write_shard(group, WINDOWS, [bad], "float32", "3-of-4")
