"""MorphoLEX-English: affix segmentations, one sheet of its workbook saved as CSV.

``<prefix<``, ``(root)``, ``>suffix>`` and ``{stem}``: unkind is ``<un<{(kind)}``, faultless is
``{(fault)}>less>``. The negative in-, im-, il-, ir- is written ``im``, the locative one ``in``.
"""

import csv
import re
from collections.abc import Iterator
from typing import Literal

from dskd_core.errors import DataError
from dskd_core.lexicon.files import lines_of
from dskd_core.lexicon.registry import reader
from dskd_core.lexicon.rows import DerivationRow, Source

_COLUMNS = ("Word", "POS", "MorphoLexSegm")
_PREFIX = re.compile(r"<([^<>{}()]+)<")
_SUFFIX = re.compile(r">([^<>{}()]+)>")
_SENSES: dict[str, Literal["negative", "locative"]] = {"im": "negative", "in": "locative"}
_POS = {"NN": "noun", "VB": "verb", "JJ": "adj", "RB": "adv"}
Stripped = tuple[str, str, Literal["prefix", "suffix"], Literal["", "negative", "locative"]]
_NEGATIVE_IN = ("in", "im", "il", "ir")


@reader("morpholex", DerivationRow, licence="CC BY-NC-SA 4.0")
def read_derivations(source: Source) -> Iterator[DerivationRow]:
    """Yield the outermost prefix and the suffixes of each word, with surface bases.

    The base is what is left of the *surface* (happily of unhappily), not the joined morphemes.
    Counted with their lines: wrong_columns, not_utf8; and other_surface, where the affix is not
    spelled so in the word.

    Raises:
        DataError: if the columns are missing, or the file is a workbook.
    """
    if source.path.suffix == ".xlsx":
        raise DataError(
            f"{source.path} is a workbook; save its sheets as CSV and name each of them."
        )
    columns: list[str] = []
    for number, raw in lines_of(source):
        try:
            fields = next(csv.reader([raw.decode("utf-8-sig")]), [])
        except UnicodeDecodeError:
            source.report.count("not_utf8", number)
            continue
        if not columns:
            columns = fields
            if not set(_COLUMNS) <= set(columns):
                raise DataError(
                    f"{source.path} lacks one of the columns {', '.join(_COLUMNS)}; save a sheet "
                    "of MorphoLEX-English such as 1-1-0 as CSV."
                )
            continue
        if len(fields) != len(columns):
            source.report.count("wrong_columns", number)
            continue
        row = dict(zip(columns, fields, strict=True))
        yield from _derivations(source, *(row[name] for name in _COLUMNS))


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
