"""Files of people: opened whatever their compression, and read in bounded pieces.

A file's compression is told by its first bytes, never by its name. A few hundred kilobytes can
unpack to gigabytes on one line, so no line and no document is read without a limit: what is longer
is passed over in pieces, counted by whoever reads, and a run can be stopped meanwhile.
"""

import bz2
import csv
import gzip
import io
import lzma
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
from isal import igzip
from isal.igzip_lib import IsalError

from dskd_core import interruption, strict_json
from dskd_core.dirty_rows import DirtyRows
from dskd_core.errors import DataError

MAX_LINE_BYTES = 32 << 20
"""A longer line of any format is left out and counted."""
MAX_DOCUMENT_BYTES = 512 << 20
"""A longer document, in a file of its own or a row of a table, is left out and counted."""
COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".lz4")
"""Endings of the compressions that are read."""

_PIECE_BYTES, _FED_BYTES = 1 << 20, 1 << 12
_MAX_ROW_LINES = 100
_XZ_BYTES = 128 << 20  # xz -9 takes 65 MiB
_BEGINNING_BYTES = 262
_TAR = slice(257, 262)
_UNREAD = (
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "a zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a rar archive"),
    (b"\x1f\x9d", "compressed by compress (.Z)"),
    (b"LZIP", "compressed by lzip"),
    (b"\x89LZO", "compressed by lzop"),
    (b"\xff\x06\x00\x00sNaPpY", "compressed by snappy"),
)
_DAMAGED = (
    EOFError,
    OverflowError,  # of a gzip header whose name never ends
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    pa.ArrowInvalid,
    cast(type[Exception], IsalError),  # the stubs of isal declare the error as a value
)


class _Xz(io.RawIOBase):
    """An xz file that is refused where its header asks for more memory than any preset does."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._piece, self._place = file, b"", 0
        self._decoder = self._fresh()

    @staticmethod
    def _fresh() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_BYTES)

    def readable(self) -> bool:
        return True

    def _next(self) -> bytes:
        """Return a few bytes more: what a stream leaves of them is copied at each stream's end."""
        if self._place >= len(self._piece):
            self._piece, self._place = self._file.read(_PIECE_BYTES), 0
        fed = self._piece[self._place : self._place + _FED_BYTES]
        self._place += len(fed)
        return fed

    def _begin_anew(self) -> bool:
        """Begin the next stream, behind zeros; False if there is none."""
        interruption.check()
        self._place -= len(self._decoder.unused_data)
        while fed := self._next():
            if rest := fed.lstrip(b"\0"):
                self._place -= len(rest)
                self._decoder = self._fresh()
                return True
        return False

    def readinto(self, buffer: Any) -> int:
        while True:
            if self._decoder.eof and not self._begin_anew():
                return 0
            fed = self._next() if self._decoder.needs_input else b""
            if self._decoder.needs_input and not fed:
                raise EOFError("it ends before the end of its xz stream")
            if data := self._decoder.decompress(fed, len(buffer)):
                buffer[: len(data)] = data
                return len(data)


def _by_arrow(codec: str) -> Callable[[BinaryIO], Any]:
    return lambda file: pa.CompressedInputStream(pa.PythonFile(file, "r"), codec)


_OPENERS: tuple[tuple[bytes, Callable[[BinaryIO], Any]], ...] = (
    (b"\x1f\x8b", lambda file: igzip.IGzipFile(fileobj=file)),
    (b"BZh", bz2.BZ2File),
    (b"\xfd7zXZ\0", _Xz),
    (b"\x28\xb5\x2f\xfd", _by_arrow("zstd")),
    *((bytes([0x50 + i, 0x2A, 0x4D, 0x18]), _by_arrow("zstd")) for i in range(16)),
    (b"\x04\x22\x4d\x18", _by_arrow("lz4")),
)


def is_compressed(file: BinaryIO) -> bool:
    """Say whether a file, open at its start and left there, is compressed in a way that is read."""
    beginning = file.read(_BEGINNING_BYTES)
    file.seek(0)
    return any(beginning.startswith(start) for start, _ in _OPENERS)


def unread_archive(beginning: bytes) -> str | None:
    """Return what a file is by its first bytes, where it is an archive that is not read.

    >>> unread_archive(b"PK" + bytes([3, 4])), unread_archive(b"word")
    ('a zip archive', None)
    """
    if beginning[_TAR] == b"ustar":
        return "a tar archive"
    return next((name for start, name in _UNREAD if beginning.startswith(start)), None)


def unpacked(file: io.BufferedReader) -> io.BufferedReader:
    """Return the bytes of an open file, decompressed; the file itself where it is not packed.

    Raises:
        DataError: if it is an archive of several files or compressed in another way, before or
            after decompression.
    """
    beginning = file.read(_BEGINNING_BYTES)
    file.seek(0)
    opener = next((opener for start, opener in _OPENERS if beginning.startswith(start)), None)
    stream = io.BufferedReader(opener(file), _PIECE_BYTES) if opener else file
    archive = unread_archive(
        stream.peek(_BEGINNING_BYTES)[:_BEGINNING_BYTES] if opener else beginning
    )
    if archive is not None:
        raise UnreadError(archive)
    return stream


class UnreadError(DataError):
    """A file is packed in a way that is not read; the message says only which."""


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file of any compression that is read: gzip, bzip2, xz, zstandard, lz4 or none.

    Raises:
        DataError: if it is damaged, breaks off or is packed in another way.
    """
    with path.open("rb") as file, damage_told(path):
        yield unpacked(file)


@contextmanager
def damage_told(path: Path, place: Callable[[], str] = str) -> Iterator[None]:
    """Say of a file that cannot be decompressed which it is, how far it was read, and a cure."""
    try:
        yield
    except UnreadError as error:
        raise DataError(
            f"{path} is {error}, which is not read; unpack it, and pack single files as "
            f"{', '.join(COMPRESSED)} if at all."
        ) from error
    except _DAMAGED as error:
        raise DataError(f"{path} is damaged{place()} ({error}); download it again.") from error
    except OSError as error:
        if error.errno is not None:  # the disk's failure, not the content's
            raise
        raise DataError(f"{path} is damaged{place()} ({error}); download it again.") from error


def lines_of(stream: BinaryIO, limit: int = MAX_LINE_BYTES) -> Iterator[bytes | None]:
    r"""Yield lines without their LF or CRLF, None in the place of one of more than ``limit`` bytes.

    >>> list(lines_of(io.BytesIO(b"a\r\nlonger\n\nb"), limit=3))
    [b'a', None, b'', b'b']
    """
    while line := stream.readline(limit + 2):
        whole = line.removesuffix(b"\n").removesuffix(b"\r")
        if len(whole) <= limit:
            yield whole
            continue
        while line and not line.endswith(b"\n"):
            interruption.check()
            line = stream.readline(_PIECE_BYTES)
        yield None


def texts_of(stream: BinaryIO) -> Iterator[str | None]:
    """Yield the lines of a UTF-8 file as ``lines_of`` does, what is not UTF-8 as U+FFFD."""
    for number, line in enumerate(lines_of(stream)):
        codec = "utf-8" if number else "utf-8-sig"
        yield None if line is None else line.decode(codec, errors="replace")


def json_objects(
    lines: Iterable[str | None], name: str, dirty: DirtyRows
) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Yield the place of every JSON line and its object; blank lines are passed over.

    None stands for what is none, counted as long_line (a line that is None), broken_line or
    not_an_object. A place is ``name:number``, from 1.
    """
    for number, line in enumerate(lines, start=1):
        place, row, code = f"{name}:{number}", None, "long_line"
        if line is not None:
            if not line.strip():
                continue
            try:
                row, code = strict_json.loads(line), "not_an_object"
            except (ValueError, RecursionError):
                code = "broken_line"
        if not isinstance(row, dict):
            dirty.note(code, place)
            row = None
        yield place, row


def utf8_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file that is read whole or not at all.

    Raises:
        DataError: with its number, if a line is no UTF-8 or too long.
    """
    with opened(path) as stream:
        for number, line in enumerate(lines_of(stream), start=1):
            if line is None:
                raise DataError(
                    f"Line {number} of {path} has more than {MAX_LINE_BYTES:,} bytes; cut it or "
                    "take it out."
                )
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"Line {number} of {path} is no UTF-8 at byte {error.start}; save it as UTF-8."
                ) from error


def read_within(stream: BinaryIO, limit: int = MAX_DOCUMENT_BYTES) -> bytes | None:
    """Return the rest of a stream, or None if it has more than ``limit`` bytes."""
    pieces, n_bytes = [], 0
    while piece := stream.read(_PIECE_BYTES):
        interruption.check()
        n_bytes += len(piece)
        if n_bytes > limit:
            return None
        pieces.append(piece)
    return b"".join(pieces)


def csv_rows(lines: Iterable[str | None]) -> Iterator[tuple[int, list[str] | None]]:
    r"""Yield (number of its last line, cells) of CSV rows, None for cells that cannot be told.

    A field in quotation marks may go on for some lines, if its row then has as many cells as the
    first row. Otherwise somebody forgot to close it: its first line alone is left out, and not the
    rows that follow. A line that is None, or one too long, is a row of None.

    >>> list(csv_rows(['a,"b', 'c"', 'd,"e', 'f,g']))
    [(2, ['a', 'b\nc']), (3, None), (4, ['f', 'g'])]
    """
    source, ahead, number, n_cells = iter(lines), deque[str | None](), 0, 0

    def pending() -> Iterator[str]:
        n_letters = 0
        for place in range(_MAX_ROW_LINES):
            if place == len(ahead) and n_letters < MAX_LINE_BYTES:
                ahead.extend(islice(source, 1))
            line = ahead[place] if place < len(ahead) else None
            if line is None:
                return
            n_letters += len(line)
            yield line + "\n"

    while ahead or (ahead := deque(islice(source, 1))):
        rows, cells, used = csv.reader(pending(), strict=True), None, 1
        with suppress(csv.Error, StopIteration):
            cells, used = next(rows), rows.line_num
        if used > 1 and n_cells and cells is not None and len(cells) != n_cells:
            cells, used = None, 1
        first = ahead[0]
        if cells is None and first is not None and first.count('"') % 2 == 0:
            with suppress(csv.Error):  # marks inside a field, closed: taken as they stand
                cells = next(csv.reader([first]), [])
        for _ in range(used):
            ahead.popleft()
        number += used
        n_cells = n_cells or len(cells or ())
        yield number, cells
