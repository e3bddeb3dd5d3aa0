"""Bytes and lines of plain and compressed files, with refusals that name the file and the line."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from dskd_core import interruption
from dskd_core.errors import ConfigError, DataError
from dskd_core.lexicon.rows import Source
from dskd_core.samples import resolve
from dskd_core.store import access, input_files, places

BLOCK_BYTES = 1 << 20
MAX_LINE_BYTES = input_files.MAX_LINE_BYTES
_BOM = b"\xef\xbb\xbf"


def local_path(uri: str, files: tuple[str, ...] = ()) -> Path:
    """Return the file behind ``uri``, or the folder that has all of ``files``.

    Raises:
        ConfigError: if it is remote, is not there, or may not be read by this process.
        DataError: if it is empty.
    """
    resolved = resolve(uri)
    if places.is_remote(resolved):
        raise ConfigError(f"The lexicon file {uri!r} is remote; download it and give its path.")
    path = Path(resolved).expanduser()
    if files:
        missing = [name for name in files if not (path / name).is_file()]
        if missing:
            packed = [
                n + e for n in missing for e in input_files.COMPRESSED if (path / (n + e)).is_file()
            ]
            cure = "give the folder that has these files"
            raise ConfigError(
                f"The lexicon folder {uri!r} lacks {', '.join(missing)}; "
                f"{f'unpack {packed[0]}' if packed else cure}."
            )
        for file in files_of(path, files):  # a link in the folder may lead out of it
            access.check_readable(str(file), "uri")
        return path
    if not path.is_file():
        raise ConfigError(f"The lexicon file {uri!r} is not a file; give the path of one.")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty; download it again or leave the source out.")
    return path


def files_of(path: Path, files: tuple[str, ...]) -> list[Path]:
    """Return the files a source consists of: itself, or those of its folder."""
    return [path / name for name in files] if files else [path]


def byte_ranges(path: Path, shard_bytes: int) -> list[tuple[int, int]]:
    """Cut a file at line ends into ranges of about ``shard_bytes``; a packed file is one range."""
    size = path.stat().st_size
    bounds = [0]
    with path.open("rb") as file:
        if input_files.is_compressed(file):
            return [(0, size)]
        while bounds[-1] + shard_bytes < size:
            file.seek(bounds[-1] + shard_bytes - 1)
            while (line := file.readline(BLOCK_BYTES)) and not line.endswith(b"\n"):
                interruption.check()
            bounds.append(file.tell())
    if bounds[-1] < size:
        bounds.append(size)
    return list(pairwise(bounds))


def blocks_of(source: Source) -> Iterator[bytes]:
    """Yield the whole lines of a source in blocks of about ``BLOCK_BYTES``, each ending in a LF.

    Whoever takes a block adds its lines to ``report.n_lines``. A byte order mark is dropped. A line
    of more than ``MAX_LINE_BYTES`` is passed over in pieces and counted as long_line.

    Raises:
        DataError: if a packed file is damaged or ends too early: half a lexicon is not read as if
            it were whole.
    """
    mark = b"" if source.start else _BOM
    pieces, n_bytes, is_long = [b""], 0, False
    for read in _read(source):
        data, end = read, read.find(b"\n")
        n_bytes += len(data) if end < 0 else end
        is_long = is_long or n_bytes > MAX_LINE_BYTES
        if is_long:
            pieces.clear()
        if end < 0:
            if not is_long:
                pieces.append(data)
            continue
        if is_long:
            source.report.n_lines += 1
            source.report.count("long_line", source.report.n_lines)
            data, is_long = data[end + 1 :], False
        cut = data.rfind(b"\n") + 1
        if block := b"".join(pieces) + data[:cut]:
            yield block.removeprefix(mark)
        pieces, n_bytes, mark = [data[cut:]], len(data) - cut, b""
    if is_long:
        source.report.n_lines += 1
        source.report.count("long_line", source.report.n_lines)
    elif rest := b"".join(pieces):
        yield rest.removeprefix(mark) + b"\n"


def _read(source: Source) -> Iterator[bytes]:
    """Yield the bytes of a source, unpacked, and tell how far the file is read."""
    with source.path.open("rb") as raw:
        packed = input_files.is_compressed(raw)
        told = source.start
        with input_files.damage_told(source.path, lambda: f" after line {source.report.n_lines}"):
            stream = input_files.unpacked(raw)
            if not packed:
                raw.seek(source.start)
            while data := stream.read(_most(raw, packed, source)):
                interruption.check()
                source.advance(raw.tell() - told)
                told = raw.tell()
                yield data


def lines_of(source: Source) -> Iterator[tuple[int, bytes]]:
    """Yield (line number from 1, line without its end) of a plain or packed file."""
    for block in blocks_of(source):
        for line in block.split(b"\n")[:-1]:
            source.report.n_lines += 1
            yield source.report.n_lines, line.rstrip(b"\r")


def _most(raw: BinaryIO, packed: bool, source: Source) -> int:
    if packed or source.stop is None:
        return BLOCK_BYTES
    return min(BLOCK_BYTES, source.stop - raw.tell())
