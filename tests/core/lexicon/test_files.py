import bz2
import gzip
import lzma

import pytest

from dskd_core import interruption
from dskd_core.config import LexiconConfig
from dskd_core.errors import DataError
from dskd_core.lexicon import files
from dskd_core.lexicon.files import byte_ranges, lines_of
from dskd_core.lexicon.rows import Source
from tests.packing import by_arrow

LINES = b"\xef\xbb\xbfone\r\ntwo\n" + b"x" * 50 + b"\nfour\n" + b"y" * 50


PACK = [bytes, gzip.compress, bz2.compress, lzma.compress, by_arrow("zstd"), by_arrow("lz4")]


def source_of(path, content):
    path.write_bytes(content)
    return Source(path, "test", "free", LexiconConfig())


@pytest.mark.parametrize("block", [1, 3, 7, 20, 51, 1000])
@pytest.mark.parametrize("pack", PACK)
def test_a_line_beyond_the_limit_is_counted_by_its_number_and_the_others_read(
    tmp_path, monkeypatch, pack, block
):
    monkeypatch.setattr(files, "BLOCK_BYTES", block)
    monkeypatch.setattr(files, "MAX_LINE_BYTES", 49)
    source = source_of(tmp_path / "a", pack(LINES))
    lines = [(1, b"one"), (2, b"two"), (4, b"four")]
    if block < 50:
        assert list(lines_of(source)) == lines
        assert source.report.lines == {"long_line": [3, 5]}
    assert byte_ranges(tmp_path / "a", 10**9) == [(0, (tmp_path / "a").stat().st_size)]
    monkeypatch.setattr(files, "MAX_LINE_BYTES", 50)
    source = source_of(tmp_path / "a", pack(LINES))
    assert list(lines_of(source)) == [*lines[:2], (3, b"x" * 50), lines[2], (5, b"y" * 50)]
    assert source.report.n_lines == 5


def test_a_long_line_is_put_together_once(tmp_path, monkeypatch):
    """Joining a line to what was read of it, block by block, took 69 s for 400 MB."""
    monkeypatch.setattr(files, "BLOCK_BYTES", 10)
    joined = []

    class Pieces(bytes):
        def __add__(self, other):
            joined.append(len(self))
            return bytes.__add__(self, other)

    monkeypatch.setattr(files, "_read", lambda source: [Pieces(b"x" * 10)] * 100 + [b"\nend\n"])
    source = source_of(tmp_path / "a", b"")
    assert [len(line) for _, line in lines_of(source)] == [1000, 3]
    assert joined == []


def test_a_lexicon_is_stopped_while_it_is_read(tmp_path):
    source = source_of(tmp_path / "a", b"x" * 100)
    interruption.request()
    try:
        with pytest.raises(interruption.Interrupted):
            list(lines_of(source))
    finally:
        interruption.clear()


def test_an_archive_is_no_lexicon(tmp_path):
    with pytest.raises(DataError, match="a zip archive, which is not read; unpack it"):
        list(lines_of(source_of(tmp_path / "a", b"PK\x03\x04" + bytes(100))))
