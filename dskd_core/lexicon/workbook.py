"""Workbooks (.xlsx) of people, checked before the reader of them, which is no Python, sees them.

It makes every cell between the first and the last that a sheet names, so two cells in opposite
corners ask for 400 GB, and it ends the process where there is no memory. It also copies a shared
text into every cell that shows it.
"""

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from xml.parsers import expat

from dskd_core import interruption
from dskd_core.errors import DataError

MAX_UNPACKED_BYTES = 512 << 20
MAX_CELLS = 1 << 23
"""Of a sheet, from its first row and column; MorphoLEX has fewer than 10^6."""
MAX_SHOWN_CHARACTERS = 1 << 30
"""The longest shared text, times the cells."""
_MAX_MEMBERS = 10_000
_PIECE_BYTES = 1 << 20
_PARTS = (".xml", ".rels")
_STYLES = "xl/styles.xml"
"""Says which numbers are dates, of which the reader gives up on those far away. No word is one."""
_REFERENCE = re.compile(r"([A-Za-z]{1,3})([0-9]{1,7})")


def checked_workbook(path: Path) -> io.BytesIO:
    """Return a workbook with its parts in XML alone, each of which was looked through.

    Raises:
        DataError: if it is none, is damaged, unpacks to too much, or has too many cells.
    """
    copied, look = io.BytesIO(), _Look(path)
    try:
        with (
            zipfile.ZipFile(path) as book,
            zipfile.ZipFile(copied, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as copy,
        ):
            members = [m for m in book.infolist() if m.filename.lower().endswith(_PARTS)]
            names = {member.filename.lower() for member in members}
            if "xl/workbook.xml" not in names or not len(names) == len(members) <= _MAX_MEMBERS:
                raise DataError(f"{path} is no workbook (.xlsx); give MorphoLEX-English.")
            for member in members:
                if member.filename.lower() == _STYLES:
                    continue
                with book.open(member) as part, copy.open(member.filename, "w") as target:
                    for piece in look.through(part):
                        target.write(piece)
    except (zipfile.BadZipFile, expat.ExpatError, NotImplementedError, RuntimeError) as error:
        raise look.damaged(error) from error
    look.check_texts()
    copied.seek(0)
    return copied


class _Look:
    """What the parts of a workbook ask for, by expat's events."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._n_bytes = self._n_cells = self._longest = self._n_letters = 0
        self._row = self._column = self._last_row = self._last_column = 0

    def through(self, part: IO[bytes]) -> Iterator[bytes]:
        """Yield the bytes of a part as they are looked at."""
        self._row = self._column = self._last_row = self._last_column = 0
        parser = expat.ParserCreate(namespace_separator="}")
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        while piece := part.read(_PIECE_BYTES):
            interruption.check()
            self._n_bytes += len(piece)
            if self._n_bytes > MAX_UNPACKED_BYTES:
                raise self._refused(f"unpacks to more than {MAX_UNPACKED_BYTES:,} bytes")
            parser.Parse(piece)
            yield piece
        parser.Parse(b"", True)

    def damaged(self, error: Exception) -> DataError:
        return DataError(f"{self._path} cannot be read as a workbook ({error}); download it again.")

    def check_texts(self) -> None:
        if self._longest * self._n_cells > MAX_SHOWN_CHARACTERS:
            raise self._refused(
                f"has {self._n_cells:,} cells and a shared text of {self._longest:,} letters"
            )

    def _refused(self, what: str) -> DataError:
        return DataError(f"{self._path} {what}, as no list of words does; download it again.")

    def _refuse_doctype(self, *_: object) -> None:
        raise self._refused("has a document type")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name, reference = tag.rpartition("}")[2], attributes.get("r")
        if name == "row":
            is_number = reference is not None and reference.isascii() and reference.isdecimal()
            self._row = int(reference[:9]) if is_number and reference else self._row + 1
            self._column = 0
        elif name == "c":
            self._n_cells += 1
            self._go_to(reference)
        elif name in {"si", "is"}:
            self._n_letters = 0

    def _go_to(self, reference: str | None) -> None:
        self._column += 1
        if reference is not None:
            found = _REFERENCE.fullmatch(reference)
            if found is None:
                raise self._refused(f"has a cell named {reference[:40]!a}")
            self._row, self._column = int(found[2]), 0
            for letter in found[1].upper():
                self._column = 26 * self._column + ord(letter) - 64
        self._last_row = max(self._last_row, self._row)
        self._last_column = max(self._last_column, self._column)
        if (n_cells := self._last_row * self._last_column) > MAX_CELLS:
            raise self._refused(f"has a sheet of {n_cells:,} cells or more")

    def _characters(self, text: str) -> None:
        self._n_letters += len(text)

    def _end(self, tag: str) -> None:
        if tag.rpartition("}")[2] == "si":
            self._longest = max(self._longest, self._n_letters)
