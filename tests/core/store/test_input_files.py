import bz2
import gzip
import io
import lzma
import tarfile
import time
import tracemalloc
import zipfile
import zlib

import pytest

from dskd_core import interruption
from dskd_core.errors import DataError
from dskd_core.store import input_files
from dskd_core.store.input_files import lines_of, opened, read_within
from tests.packing import by_arrow

COMPRESS = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstandard": by_arrow("zstd"),
    "lz4": by_arrow("lz4"),
}


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_packed_file_is_read_whole_whatever_its_name(tmp_path, kind):
    one, two = (bytes(range(256)) * n for n in (9_000, 3))
    # Packers append: a file may be several streams one after another.
    (tmp_path / "a.txt").write_bytes(COMPRESS[kind](one) + COMPRESS[kind](two))
    with opened(tmp_path / "a.txt") as stream:
        assert stream.read() == one + two


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_packed_file_that_breaks_off_is_refused(tmp_path, kind):
    whole = COMPRESS[kind](bytes(range(256)) * 9_000)
    (tmp_path / "a").write_bytes(whole[:-9])
    with (
        pytest.raises(DataError, match=r"/a is damaged.*download it again"),
        opened(tmp_path / "a") as stream,
    ):
        stream.read()


def test_a_gzip_header_without_end_is_damage(tmp_path):
    (tmp_path / "a").write_bytes(b"\x1f\x8b\x08\x08\0\0\0\0\0\x03" + b"n" * (2 << 20))
    with pytest.raises(DataError, match=r"/a is damaged.*"), opened(tmp_path / "a") as stream:
        stream.read()


def archives():
    tar, packed, zipped = io.BytesIO(), io.BytesIO(), io.BytesIO()
    for file, mode in ((tar, "w"), (packed, "w:gz")):
        with tarfile.open(fileobj=file, mode=mode) as archive:
            archive.addfile(tarfile.TarInfo("x"), io.BytesIO())
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("x", "y")
    return [("tar", tar), ("tar", packed), ("zip", zipped), ("7z", io.BytesIO(b"7z\xbc\xaf'\x1c"))]


@pytest.mark.parametrize(("kind", "file"), archives())
def test_an_archive_is_refused_by_its_kind_with_a_cure(tmp_path, kind, file):
    (tmp_path / "a").write_bytes(file.getvalue())
    with (
        pytest.raises(DataError, match=rf"/a is a {kind} archive, which is not read; unpack it"),
        opened(tmp_path / "a"),
    ):
        pass


def test_an_xz_file_that_asks_for_gigabytes_is_refused(tmp_path):
    packed = bytearray(lzma.compress(b"x"))
    # The header of the first block, after the stream's 12 bytes, ends in its checksum.
    start, stop = 12, 12 + (packed[12] + 1) * 4
    packed[packed.index(b"\x21\x01", start) + 2] = 40  # a dictionary of 4 GiB less one byte
    packed[stop - 4 : stop] = zlib.crc32(packed[start : stop - 4]).to_bytes(4, "little")
    (tmp_path / "a").write_bytes(packed)
    with pytest.raises(DataError, match=r"damaged.*[Mm]emory"), opened(tmp_path / "a") as stream:
        stream.read()


@pytest.mark.parametrize("kind", ["bzip2", "zstandard"])
def test_a_small_file_that_unpacks_to_one_huge_line_takes_bounded_memory(
    tmp_path, kind, monkeypatch
):
    monkeypatch.setattr(input_files, "_PIECE_BYTES", 1 << 16)
    line = b"x" * (32 << 20)
    (tmp_path / "a").write_bytes(COMPRESS[kind](b"first\n" + line + b"\nlast"))
    del line
    tracemalloc.start()
    with opened(tmp_path / "a") as stream:
        assert list(lines_of(stream, limit=1 << 20)) == [b"first", None, b"last"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_a_line_is_as_long_as_its_limit_and_no_longer():
    stream = io.BytesIO(b"abc\nabcd\nabc\r\nabcd\r\n\nabcde")
    assert list(lines_of(stream, limit=3)) == [b"abc", None, b"abc", None, b"", None]
    assert list(lines_of(io.BytesIO(b"abc"), limit=3)) == [b"abc"]


def test_a_document_beyond_the_limit_is_none():
    assert read_within(io.BytesIO(b"abc"), 3) == b"abc"
    assert read_within(io.BytesIO(b"abcd"), 3) is None


def test_a_run_is_stopped_while_a_long_line_is_passed_over():
    interruption.request()
    try:
        with pytest.raises(interruption.Interrupted):
            list(lines_of(io.BytesIO(b"x" * 100), limit=10))
        with pytest.raises(interruption.Interrupted):
            read_within(io.BytesIO(b"x" * 100), 10)
    finally:
        interruption.clear()


def test_many_xz_streams_take_time_in_proportion_to_their_number(tmp_path):
    empty, n = lzma.compress(b""), 30_000
    path = tmp_path / "a.xz"
    path.write_bytes(lzma.compress(b"one\n") + empty * n + b"\0" * 5000 + lzma.compress(b"two"))
    began = time.process_time()
    with input_files.opened(path) as stream:
        assert stream.read() == b"one\ntwo"
    assert time.process_time() - began < 1.5
