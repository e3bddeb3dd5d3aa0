"""Lines of a plain or gzipped file, with refusals that name the file and the line."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from dskd_core import storage
from dskd_core.errors import ConfigError, DataError
from dskd_core.lexicon.rows import Source
from dskd_core.samples import resolve

_GZIP_MAGIC = b"\x1f\x8b"
_ADVANCE_LINES = 2000


def local_path(uri: str) -> Path:
    """Return the file behind ``uri``.

    Raises:
        ConfigError: if it is remote or is not there.
        DataError: if it is empty.
    """
    resolved = resolve(uri)
    if storage.is_remote(resolved):
        raise ConfigError(f"The lexicon file {uri!r} is remote; download it and give its path.")
    path = Path(resolved).expanduser()
    if not path.is_file():
        raise ConfigError(f"The lexicon file {uri!r} is not a file; give the path of one.")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty; download it again or leave the source out.")
    return path


def lines_of(source: Source) -> Iterator[tuple[int, bytes]]:
    """Yield (line number from 1, line without its end) of a plain or gzipped file.

    Raises:
        DataError: if a gzip stream is damaged or ends too early: half a lexicon is not read as if
            it were whole.
    """
    number = 0
    with source.path.open("rb") as raw:
        zipped = raw.read(2) == _GZIP_MAGIC
        raw.seek(0)
        told = 0
        lines = gzip.GzipFile(fileobj=raw) if zipped else raw
        try:
            for number, line in enumerate(lines, 1):
                if number % _ADVANCE_LINES == 0:
                    source.advance(raw.tell() - told)
                    told = raw.tell()
                yield number, line.rstrip(b"\r\n")
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(
                f"{source.path} is a damaged gzip file after line {number} ({error}); "
                "download it again."
            ) from error
        source.advance(source.path.stat().st_size - told)
