"""MorphoLEX-English: affix segmentations, its workbook or one sheet of it saved as CSV.

``<prefix<``, ``(root)``, ``>suffix>`` and ``{stem}``: unkind is ``<un<{(kind)}``, faultless is
``{(fault)}>less>``. The negative in-, im-, il-, ir- is written ``im``, the locative one ``in``.
"""

import csv
import re
from collections.abc import Iterator
from typing import Any, Literal

from dskd_core.errors import DataError, listed
from dskd_core.lexicon.files import lines_of
from dskd_core.lexicon.registry import reader
from dskd_core.lexicon.rows import DerivationRow, Source
from dskd_core.lexicon.workbook import checked_workbook

_COLUMNS = ("Word", "POS", "MorphoLexSegm")
_SHEET = re.compile(r"\d+-\d+-\d+")
_ZIP_MAGIC = b"PK"
_PREFIX = re.compile(r"<([^<>{}()]+)<")
_SUFFIX = re.compile(r">([^<>{}()]+)>")
_SENSES: dict[str, Literal["negative", "locative"]] = {"im": "negative", "in": "locative"}
_POS = {"NN": "noun", "VB": "verb", "JJ": "adj", "RB": "adv"}
Stripped = tuple[str, str, Literal["prefix", "suffix"], Literal["", "negative", "locative"]]
Cells = tuple[int, str, str, str]
_NEGATIVE_IN = ("in", "im", "il", "ir")


@reader("morpholex", DerivationRow, licence="CC BY-NC-SA 4.0")
def read_derivations(source: Source) -> Iterator[DerivationRow]:
    """Yield the outermost prefix and the suffixes of each word, with surface bases.

    The base is what is left of the *surface* (happily of unhappily), not the joined morphemes.
    Counted with their lines: wrong_columns, not_utf8, no_word; and other_surface, where the affix
    is not spelled so in the word.

    Raises:
        DataError: if the columns or the sheets are missing, or a workbook is damaged.
    """
    with source.path.open("rb") as file:
        zipped = file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
    for number, word, pos, segments in (_from_workbook if zipped else _from_text)(source):
        if not word or not segments:
            source.report.count("no_word", number)
            continue
        yield from _derivations(source, word, pos, segments)


def _from_text(source: Source) -> Iterator[Cells]:
    columns: list[str] = []
    for number, raw in lines_of(source):
        try:
            fields = next(csv.reader([raw.decode("utf-8-sig")]), [])
        except UnicodeDecodeError:
            source.report.count("not_utf8", number)
            continue
        except csv.Error:  # a field of more than 131,072 letters, or a quoted end of line
            fields = []
        if not columns:
            columns = fields
            _check_columns(columns, str(source.path))
        elif len(fields) != len(columns):
            source.report.count("wrong_columns", number)
        else:
            row = dict(zip(columns, fields, strict=True))
            yield number, row["Word"], row["POS"], row["MorphoLexSegm"]


def _from_workbook(source: Source) -> Iterator[Cells]:
    import python_calamine

    try:
        with python_calamine.load_workbook(checked_workbook(source.path)) as book:
            sheets = [name for name in book.sheet_names if _SHEET.fullmatch(name.strip())]
            if not sheets:
                raise DataError(
                    f"{source.path} has the sheets {', '.join(book.sheet_names)}, none of them "
                    "named by counts of prefixes, roots and suffixes such as 1-1-0; give "
                    "MorphoLEX-English."
                )
            for name in sheets:
                yield from _from_sheet(name, book.get_sheet_by_name(name).to_python(), source)
    except (python_calamine.CalamineError, OSError) as error:
        raise DataError(
            f"{source.path} cannot be read as a workbook ({error}); download it again."
        ) from error
    source.advance(source.path.stat().st_size)


def _from_sheet(name: str, rows: list[list[Any]], source: Source) -> Iterator[Cells]:
    columns = [str(cell) for cell in rows[0]] if rows else []
    _check_columns(columns, f"The sheet {name} of {source.path}")
    places = [columns.index(column) for column in _COLUMNS]
    for number, row in enumerate(rows[1:], 2):
        word, pos, segments = (_text(row[place]) for place in places)
        yield number, word, pos, segments


def _text(cell: object) -> str:
    # A spreadsheet takes the words true and false for truth values.
    return str(cell).lower() if isinstance(cell, bool) else str(cell).strip()


def _check_columns(columns: list[str], where: str) -> None:
    if twice := [name for name in _COLUMNS if columns.count(name) > 1]:
        raise DataError(f"{where} has the column {twice[0]} twice; give one of them another name.")
    if not set(_COLUMNS) <= set(columns):
        raise DataError(
            f"{where} has the columns {listed(columns) or 'none'}, but lacks one of "
            f"{', '.join(_COLUMNS)}; give MorphoLEX-English, or a sheet of it as CSV."
        )


def _derivations(source: Source, word: str, pos: str, segments: str) -> Iterator[DerivationRow]:
    parts = [_POS.get(tag.strip(), "") for tag in pos.split("|")] or [""]
    for base, affix, kind, sense in _strip(word, segments, source):
        for part in parts:
            yield DerivationRow(word, base, affix, kind, sense, part, source.name, source.licence)


def _strip(word: str, segments: str, source: Source) -> Iterator[Stripped]:
    prefix = _PREFIX.match(segments.lstrip("{"))
    if prefix:
        name = prefix[1].lower()
        spellings = _NEGATIVE_IN if name == "im" else (name,)
        found = next((s for s in spellings if word.lower().startswith(s)), None)
        if found is None or len(found) == len(word):
            source.report.count("other_surface")
        else:
            yield word[len(found) :].lstrip("-"), found, "prefix", _SENSES.get(name, "")
    if "less" in _SUFFIX.findall(segments) and "less" in word.lower():
        at = word.lower().rindex("less")
        if at and word[at:].lower() == "less":
            yield word[:at], "less", "suffix", ""
