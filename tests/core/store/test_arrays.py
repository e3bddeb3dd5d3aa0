from pathlib import Path

import numpy as np
import pytest
import zarr

from dskd_core.errors import DataError
from dskd_core.store.arrays import get_array, new_array, peek_rows, put_array
from dskd_core.store.drafts import Draft

VALUES = {
    "states": np.random.default_rng(0).integers(0, 2**16, (103, 7), dtype=np.uint16),
    "halves": np.linspace(-60, 60, 50, dtype=np.float16).reshape(25, 2),
    "cube": np.arange(2 * 3 * 5, dtype=np.int64).reshape(5, 3, 2).transpose(0, 2, 1),
    "flags": np.array([True, False, True]),
    "zeros": np.zeros(40, np.float32),
    "none": np.zeros((0, 4), np.float32),
}


@pytest.fixture
def group(tmp_path) -> zarr.Group:
    return Draft(tmp_path).write_group("g")


def _is_zarr_s(tmp_path: Path, name: str, chunk_rows: int) -> None:
    """Assert that zarr writes the same files for the same values and chunks."""
    other = Draft(tmp_path).write_group("z")
    values = VALUES[name]
    array = new_array(other, name, values.shape, values.dtype, chunk_rows=chunk_rows)
    array[...] = values
    for file in (tmp_path / "z" / name / "c").rglob("*"):
        ours = tmp_path / "g" / file.relative_to(tmp_path / "z")
        assert file.is_dir() or file.read_bytes() == ours.read_bytes()


@pytest.mark.parametrize("chunk_bytes", [1, 64, 1 << 20])
@pytest.mark.parametrize("name", VALUES)
def test_the_files_are_those_that_zarr_writes(group, tmp_path, name, chunk_bytes):
    put_array(group, name, VALUES[name], chunk_bytes=chunk_bytes)
    np.testing.assert_array_equal(group[name][...], VALUES[name])
    if VALUES[name].size:
        _is_zarr_s(tmp_path, name, group[name].chunks[0])


@pytest.mark.parametrize("cuts", [[0], [50], [3, 3, 60], [1, 102], [103]])
@pytest.mark.parametrize("chunk_bytes", [1, 64, 1 << 20])
def test_blocks_of_rows_become_the_array_they_are_end_to_end(group, tmp_path, cuts, chunk_bytes):
    blocks = np.split(VALUES["states"], cuts)
    put_array(group, "states", *blocks, chunk_bytes=chunk_bytes)
    _is_zarr_s(tmp_path, "states", group["states"].chunks[0])
    np.testing.assert_array_equal(get_array(group, "states"), VALUES["states"])


@pytest.mark.parametrize("rows", [None, slice(0, 1), slice(9, 12), slice(20, 103), slice(50, 50)])
def test_a_run_of_rows_is_read_across_chunks(group, rows):
    put_array(group, "states", VALUES["states"], chunk_bytes=140)
    assert group["states"].chunks == (10, 7)
    wanted = VALUES["states"] if rows is None else VALUES["states"][rows]
    np.testing.assert_array_equal(get_array(group, "states", rows), wanted)


def test_chunks_are_even_so_that_little_is_padding(group):
    put_array(group, "states", VALUES["states"], chunk_bytes=102 * 14)
    assert group["states"].chunks == (52, 7)


@pytest.mark.parametrize("damage", ["flipped", "cut", "longer", "gone"])
def test_a_damaged_chunk_is_refused_by_its_path(group, tmp_path, damage):
    put_array(group, "states", VALUES["states"], chunk_bytes=140)
    path = tmp_path / "g/states/c/3/0"
    content = bytearray(path.read_bytes())
    content[17] ^= 4
    changed = {"flipped": content, "cut": content[:-1], "longer": content + b"0"}
    path.unlink()
    if damage != "gone":
        path.write_bytes(changed[damage])
    get_array(group, "states", slice(0, 30))
    with pytest.raises(DataError, match=r"c/3/0 is damaged.*again"):
        get_array(group, "states", slice(30, 31))


def test_an_array_that_is_no_plain_run_of_rows_is_read_through_zarr(group):
    values = np.arange(24, dtype=np.int32).reshape(4, 6)
    group.create_array("squares", data=values, chunks=(2, 3))
    np.testing.assert_array_equal(get_array(group, "squares", slice(1, 3)), values[1:3])


@pytest.mark.parametrize("name", ["states", "halves", "flags"])
def test_single_rows_are_read_without_their_chunks(group, tmp_path, name):
    put_array(group, name, VALUES[name], chunk_bytes=40)
    rows = np.array([2, 0, len(VALUES[name]) - 1, 2])
    np.testing.assert_array_equal(peek_rows(group, name, rows), VALUES[name][rows])
    chunk = min((tmp_path / "g" / name / "c").rglob("0*"))
    file = chunk if chunk.is_file() else next(chunk.rglob("0"))
    file.write_bytes(b"")
    with pytest.raises(DataError, match="was whole before and is not any more"):
        peek_rows(group, name, np.array([0]))
