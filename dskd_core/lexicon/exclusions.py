"""The list of what people struck out of the lexicon: words, and pairs of words.

A line is a word, or two words, or two words and the relation that does not hold between them,
separated by tabs or commas. Words match in any case. A line ``word_a, word_b, relation`` is
skipped, so the explorer's lists can be given as they are, or one behind the other.
"""

import csv
from pathlib import Path

import pyarrow as pa

from dskd_core.errors import DataError
from dskd_core.lexicon.cleaning import clean
from dskd_core.store import input_files

EXCLUSIONS = "exclusions.parquet"
_RELATIONS = ("synonym", "antonym")
_SCHEMA = pa.schema([(name, pa.string()) for name in ("word_a", "word_b", "relation")])


def read_exclusions(path: Path) -> pa.Table:
    """Return the lines of a list: word_a, word_b and relation, "" for any.

    Raises:
        DataError: if a line is none of the three; half a list is not read as if it were whole.
    """
    rows = []
    for number, line in enumerate(input_files.utf8_lines(path), 1):
        if not line.strip():
            continue
        fields = [field.strip() for field in _split(line)]
        if fields == _SCHEMA.names or (number == 1 and fields[0].lower() in ("word", "word_a")):
            continue
        rows.append(_row(path, number, fields))
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    return pa.table([pa.array(column, pa.string()) for column in columns], schema=_SCHEMA)


def _split(line: str) -> list[str]:
    return line.split("\t") if "\t" in line or len(line) > 4096 else next(csv.reader([line]))


def _row(path: Path, number: int, fields: list[str]) -> tuple[str, str, str]:
    words = [clean(field) for field in fields[:2] if field]
    relation = fields[2].lower() if len(fields) > 2 else ""
    faults = [fault for _, fault in words if fault]
    if len(fields) > 3 or not words or faults or (relation and relation not in _RELATIONS):
        raise DataError(
            f"{path}, line {number} is {chr(9).join(fields)!r}; a line is a word, or two words, or "
            f"two words and {' or '.join(_RELATIONS)}."
        )
    return words[0][0], words[1][0] if len(words) > 1 else "", relation
