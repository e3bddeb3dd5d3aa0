"""The folder of wheels that a machine without a network is given."""

import importlib
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAME = "pyarrow-26.0.1-cp312-cp312-manylinux_2_28_x86_64.whl"
KEPT = {
    "pyarrow/__init__.py": b"import pyarrow.lib\n" * 50,
    "pyarrow/libarrow.so.2600": b"\x7fELF" + bytes(5000),
    "pyarrow/libarrow_substrait.so.2600": b"\x7fELF libarrow.so.2600\0libarrow_python.so.2600\0",
    "pyarrow/libarrow_python.so.2600": b"python",
    "pyarrow/_parquet.cpython-312-x86_64-linux-gnu.so": b"parquet",
}
LEFT_OUT = {
    "pyarrow/libarrow_flight.so.2600": b"flight",
    "pyarrow/libarrow_python_flight.so.2600": b"flight",
    "pyarrow/_s3fs.cpython-312-x86_64-linux-gnu.so": b"s3",
    "pyarrow/libarrow_python.so.2600.1.0": b"python",
    "pyarrow/libarrow_python.so": b"python",
    "pyarrow/include/arrow/api.h": b"#pragma once",
}
RECORD = "pyarrow-26.0.1.dist-info/RECORD"


@pytest.fixture
def wheels(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "infra"))
    yield importlib.import_module("wheels")
    for name in ("wheels", "lock"):
        sys.modules.pop(name, None)


def write(place: Path) -> Path:
    with zipfile.ZipFile(place / NAME, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in (KEPT | LEFT_OUT).items():
            wheel.writestr(name, content)
        wheel.writestr(RECORD, "".join(f"{name},sha256=x,1\n" for name in KEPT | LEFT_OUT))
    return place / NAME


def test_a_wheel_packed_again_keeps_the_bytes_of_what_is_imported_and_lists_nothing_else(
    wheels, tmp_path
):
    (tmp_path / "new").mkdir()
    target = tmp_path / "new" / NAME
    wheels.repack(write(tmp_path), target)
    with zipfile.ZipFile(target) as packed:
        assert packed.testzip() is None
        assert {name: packed.read(name) for name in packed.namelist() if name != RECORD} == KEPT
        listed = [line.split(",")[0] for line in packed.read(RECORD).decode().splitlines()]
        assert {info.compress_type for info in packed.infolist()} == {zipfile.ZIP_LZMA}
    assert listed == list(KEPT)


def test_a_library_that_is_needed_is_not_left_out(wheels, tmp_path, monkeypatch):
    needs = {"pyarrow/lib.so": b"\x7fELF libarrow_flight.so.2600\0"}
    monkeypatch.setitem(globals(), "KEPT", KEPT | needs)
    with pytest.raises(SystemExit, match=r"pyarrow/lib\.so needs libarrow_flight\.so\.2600"):
        wheels.repack(write(tmp_path), tmp_path / "new.whl")


def test_a_folder_that_is_too_large_is_refused(wheels, tmp_path, monkeypatch):
    monkeypatch.setattr(wheels, "LIMIT", 100)
    monkeypatch.setattr(wheels, "download", lambda folder, _: write(folder))
    monkeypatch.setattr(sys, "argv", ["wheels", "--folder", str(tmp_path / "made")])
    with pytest.raises(SystemExit, match=r"take 0\.0 MiB, more than 0 MiB; take a package out"):
        wheels.main()


def test_everything_asked_for_is_locked_with_its_hashes(wheels):
    blocks = {}
    for lock in wheels.LOCKS.glob("*.txt"):
        blocks |= wheels.pins(lock.read_text("utf-8"))
    for name in wheels.wanted():
        assert "--hash=sha256:" in blocks[wheels.name_of(name)]
