"""Bytes and lines of plain and gzipped files, with refusals that name the file and the line."""

import gzip
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, cast

from isal import igzip
from isal.igzip_lib import IsalError

from dskd_core.errors import ConfigError, DataError
from dskd_core.lexicon.rows import Source
from dskd_core.samples import resolve
from dskd_core.store import access, places

BLOCK_BYTES = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
# The stubs of isal declare the error as a value.
_DAMAGED = (EOFError, gzip.BadGzipFile, cast(type[Exception], IsalError))
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
            raise ConfigError(
                f"The lexicon folder {uri!r} lacks {', '.join(missing)}; "
                "give the folder that has these files."
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
    """Cut a file at line ends into ranges of about ``shard_bytes``; a gzip file is one range."""
    size = path.stat().st_size
    bounds = [0]
    with path.open("rb") as file:
        if file.read(2) == _GZIP_MAGIC:
            return [(0, size)]
        while bounds[-1] + shard_bytes < size:
            file.seek(bounds[-1] + shard_bytes - 1)
            file.readline()
            bounds.append(file.tell())
    if bounds[-1] < size:
        bounds.append(size)
    return list(pairwise(bounds))


def blocks_of(source: Source) -> Iterator[bytes]:
    """Yield the whole lines of a source in blocks of about ``BLOCK_BYTES``, each ending in a LF.

    Whoever takes a block adds its lines to ``report.n_lines``. A byte order mark is dropped.

    Raises:
        DataError: if a gzip stream is damaged or ends too early: half a lexicon is not read as if
            it were whole.
    """
    with source.path.open("rb") as raw:
        zipped = raw.read(2) == _GZIP_MAGIC
        raw.seek(source.start)
        stream = cast(BinaryIO, igzip.IGzipFile(fileobj=raw)) if zipped else raw
        told, rest, mark = source.start, b"", b"" if source.start else _BOM
        try:
            while data := stream.read(_most(raw, zipped, source)):
                source.advance(raw.tell() - told)
                told = raw.tell()
                cut = data.rfind(b"\n") + 1
                if not cut:
                    rest += data
                    continue
                yield (rest + data[:cut]).removeprefix(mark)
                rest, mark = data[cut:], b""
        except _DAMAGED as error:
            line = source.report.n_lines
            raise DataError(
                f"{source.path} is a damaged gzip file after line {line} ({error}); "
                "download it again."
            ) from error
    if rest:
        yield rest.removeprefix(mark) + b"\n"


def lines_of(source: Source) -> Iterator[tuple[int, bytes]]:
    """Yield (line number from 1, line without its end) of a plain or gzipped file."""
    for block in blocks_of(source):
        for line in block.split(b"\n")[:-1]:
            source.report.n_lines += 1
            yield source.report.n_lines, line.rstrip(b"\r")


def _most(raw: BinaryIO, zipped: bool, source: Source) -> int:
    if zipped or source.stop is None:
        return BLOCK_BYTES
    return min(BLOCK_BYTES, source.stop - raw.tell())
