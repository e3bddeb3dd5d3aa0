"""Word-pair files: two words a line, or CSV, TSV and Parquet with named columns.

``word_pairs`` needs the relation of each pair (a column ``relation``, or a third field).
``synonym_pairs`` and ``antonym_pairs`` read files that hold only one relation.
"""

import csv
from collections.abc import Iterator
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from dskd_core.errors import DataError
from dskd_core.lexicon.cleaning import fault_of, tidy
from dskd_core.lexicon.files import lines_of
from dskd_core.lexicon.registry import reader
from dskd_core.lexicon.rows import PairRow, Relation, Source

_LICENCE = "unstated"
_NAMES = (("word_a", "word_b"), ("word1", "word2"))
_BATCH_ROWS = 65536
_RELATIONS = {
    "synonym": "synonym",
    "synonyms": "synonym",
    "syn": "synonym",
    "antonym": "antonym",
    "antonyms": "antonym",
    "ant": "antonym",
}

Fields = dict[str, str]


@reader("word_pairs", PairRow, licence=_LICENCE)
def read_pairs(source: Source, *, relation: Relation | None = None) -> Iterator[PairRow]:
    """Yield the pairs of the file, all of one relation where one is given.

    Counted with their lines: wrong_columns, unknown_relation, wrong_weight, not_utf8; and
    self_link and the codes of ``cleaning.fault_of``.

    Raises:
        DataError: if no row says whether it is a synonym or an antonym.
    """
    name = f"{source.name}:{source.path.name}"
    parquet = source.path.suffix == ".parquet"
    for number, fields in _from_parquet(source) if parquet else _from_text(source):
        row = _pair(fields, number, relation, source, name)
        if row is not None:
            source.report.count("pairs")
            yield row
    if not source.report.counts["pairs"] and source.report.counts["unknown_relation"]:
        raise DataError(
            f"{source.path} does not say which pairs are synonyms and which antonyms; add a column "
            "relation, or name the kind synonym_pairs or antonym_pairs."
        )


@reader("synonym_pairs", PairRow, licence=_LICENCE)
def read_synonyms(source: Source) -> Iterator[PairRow]:
    """Yield the pairs of a file of synonyms."""
    return read_pairs(source, relation="synonym")


@reader("antonym_pairs", PairRow, licence=_LICENCE)
def read_antonyms(source: Source) -> Iterator[PairRow]:
    """Yield the pairs of a file of antonyms."""
    return read_pairs(source, relation="antonym")


def _from_text(source: Source) -> Iterator[tuple[int, Fields]]:
    columns: list[str] | None = None
    delimiter = ""
    for number, raw in lines_of(source):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            source.report.count("not_utf8", number)
            continue
        if not line.strip():
            continue
        if not delimiter:
            delimiter = "\t" if "\t" in line else "," if "," in line else " "
            columns = _header(_split(line, delimiter))
            if columns is not None:
                continue
        values = _split(line, delimiter)
        names = columns or ["word_a", "word_b", "relation"][: max(2, len(values))]
        if len(values) != len(names):
            source.report.count("wrong_columns", number)
            continue
        yield number, dict(zip(names, values, strict=True))


def _split(line: str, delimiter: str) -> list[str]:
    if delimiter == " ":
        return line.split()
    if '"' not in line:
        return line.split(delimiter)
    return next(csv.reader([line], delimiter=delimiter))


def _header(names: list[str]) -> list[str] | None:
    """Return the columns' names in our words, or None if the line is a row."""
    names = [name.strip().lower() for name in names]
    for first, second in _NAMES:
        if first in names and second in names:
            ours = {first: "word_a", second: "word_b"}
            return [ours.get(name, name) for name in names]
    return None


def _from_parquet(source: Source) -> Iterator[tuple[int, Fields]]:
    try:
        file = pq.ParquetFile(source.path)
    except pa.ArrowInvalid as error:
        raise DataError(f"{source.path} is not Parquet ({error}); write it again.") from error
    names = _header(file.schema_arrow.names)
    if names is None:
        raise DataError(
            f"{source.path} has the columns {', '.join(file.schema_arrow.names)}; "
            "name two of them word_a and word_b."
        )
    number = 0
    for batch in file.iter_batches(batch_size=_BATCH_ROWS):
        for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            number += 1
            yield number, {n: _text(v) for n, v in zip(names, values, strict=True)}
    source.advance(source.path.stat().st_size)


def _text(value: object) -> str:
    if isinstance(value, list):
        return " ".join(str(part) for part in value)
    return "" if value is None else str(value)


def _pair(
    fields: Fields, number: int, relation: Relation | None, source: Source, name: str
) -> PairRow | None:
    word_a, word_b = tidy(fields["word_a"]), tidy(fields["word_b"])
    said = fields.get("relation", "").strip().lower()
    stated = _RELATIONS.get(said)
    code = fault_of(word_a) or fault_of(word_b)
    if code is None and word_a.casefold() == word_b.casefold():
        code = "self_link"
    # A third word in a file of synonyms is no relation either.
    if code is None and (stated is None if said else relation is None):
        code = "unknown_relation"
    try:
        weight = float(fields.get("weight") or 1.0)
    except ValueError:
        weight = -1.0
    if code is None and not 0.0 < weight <= 1.0:
        code = "wrong_weight"
    if code is not None:
        source.report.count(code, number)
        return None
    return PairRow(
        word_a=word_a,
        word_b=word_b,
        relation=cast(Relation, relation or stated),
        source=name,
        pos=fields.get("pos", "").strip(),
        sense=tidy(fields.get("sense", "")),
        tags=tuple(sorted(set(fields.get("tags", "").split()))),
        licence=source.licence,
        weight=weight,
    )
