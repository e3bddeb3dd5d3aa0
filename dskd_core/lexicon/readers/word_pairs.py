"""Word-pair files: two words a line, or CSV, TSV and Parquet with named columns.

``word_pairs`` needs the relation of each pair (a column ``relation``, or a third field).
``synonym_pairs`` and ``antonym_pairs`` read files that hold only one relation.

Rows are read in blocks, as columns; what Python must say of a text it says once a distinct one.
"""

import csv
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dskd_core.errors import DataError, listed
from dskd_core.lexicon.cleaning import MAX_LETTERS, clean, tidy
from dskd_core.lexicon.files import blocks_of
from dskd_core.lexicon.registry import reader
from dskd_core.lexicon.rows import PAIR_SCHEMA, PairRow, Relation, Source
from dskd_core.store import input_files, parquet_rows

_LICENCE = "unstated"
_NAMES = (
    ("word_a", "word_b"),
    ("word1", "word2"),
    ("word_1", "word_2"),
    ("word 1", "word 2"),
    ("term1", "term2"),
    *((word, other) for word in ("word", "term", "lemma") for other in ("synonym", "synonyms")),
    *((word, other) for word in ("word", "term", "lemma") for other in ("antonym", "antonyms")),
)
"""What files call their two columns of words; the first row is no pair then."""
_UNNAMED = ("word_a", "word_b", "relation")
_READ = (*_UNNAMED, "weight", "pos", "sense", "tags")
_LONE = re.compile("[\ud800-\udfff]")  # of a byte that is no UTF-8
_BATCH_ROWS = 65536
_BLOCK_BYTES = 64 << 20
_TEXT = pa.string()
_RELATIONS = {
    "synonym": "synonym",
    "synonyms": "synonym",
    "syn": "synonym",
    "antonym": "antonym",
    "antonyms": "antonym",
    "ant": "antonym",
}


@reader("word_pairs", PairRow, licence=_LICENCE)
def read_pairs(source: Source, *, relation: Relation | None = None) -> Iterator[pa.Table]:
    """Yield the pairs of the file in blocks, all of one relation where one is given.

    Counted with their lines: wrong_columns, unknown_relation, wrong_weight, not_utf8; and
    self_link and the codes of ``cleaning.fault_of``.

    Raises:
        DataError: if no row says whether it is a synonym or an antonym.
    """
    parquet = source.path.suffix == ".parquet"
    for fields in _from_parquet(source) if parquet else _from_text(source):
        yield _pairs(fields, relation, source)
    if not source.report.counts["pairs"] and source.report.counts["unknown_relation"]:
        raise DataError(
            f"{source.path} does not say which pairs are synonyms and which antonyms; add a column "
            "relation, or name the kind synonym_pairs or antonym_pairs."
        )


@reader("synonym_pairs", PairRow, licence=_LICENCE)
def read_synonyms(source: Source) -> Iterator[pa.Table]:
    """Yield the pairs of a file of synonyms."""
    return read_pairs(source, relation="synonym")


@reader("antonym_pairs", PairRow, licence=_LICENCE)
def read_antonyms(source: Source) -> Iterator[pa.Table]:
    """Yield the pairs of a file of antonyms."""
    return read_pairs(source, relation="antonym")


def _from_text(source: Source) -> Iterator[pa.Table]:
    """Yield the fields of the rows as columns of text, with the ``number`` of each line."""
    delimiter, columns = "", None
    for block in blocks_of(source):
        numbers, lines = _lines(block, source)
        if not len(lines):
            continue
        if not delimiter:
            first = lines[0].as_py()
            delimiter = "\t" if "\t" in first else "," if "," in first else " "
            columns = _header(_split(first, delimiter), source)
            if columns is not None:
                numbers, lines = numbers.slice(1), lines.slice(1)
        yield _fields(numbers, lines, delimiter, columns, source)


def _lines(block: bytes, source: Source) -> tuple[pa.Array, pa.Array]:
    """Return the lines that are text and not blank, with their numbers from 1."""
    start = source.report.n_lines + 1
    try:
        lines = block.decode("utf-8").split("\n")[:-1]
        numbers = pa.array(np.arange(start, start + len(lines)))
    except UnicodeDecodeError:
        good: dict[int, str] = {}
        bad = []
        raw = block.split(b"\n")[:-1]
        for number, line in enumerate(raw, start):
            try:
                good[number] = line.decode("utf-8")
            except UnicodeDecodeError:
                bad.append(number)
        source.report.count_rows("not_utf8", bad)
        source.report.n_lines += len(bad)
        numbers, lines = pa.array(list(good), pa.int64()), list(good.values())
    source.report.n_lines += len(lines)
    texts = pc.utf8_rtrim(pa.array(lines, _TEXT), "\r")
    written = pc.not_equal(pc.utf8_trim_whitespace(texts), "")
    return numbers.filter(written), texts.filter(written)


def _fields(
    numbers: pa.Array, lines: pa.Array, delimiter: str, columns: list[str] | None, source: Source
) -> pa.Table:
    """Cut lines at the delimiter, all at once where no quotation mark stands in the way."""
    if delimiter == " " or pc.any(pc.match_substring(lines, '"')).as_py():
        cut = pa.array([_split(line, delimiter) for line in lines.to_pylist()], pa.list_(_TEXT))
    else:
        cut = pc.split_pattern(lines, delimiter)
    lengths = pc.list_value_length(cut)
    fits = (
        pc.is_in(lengths, pa.array([2, 3], lengths.type))
        if columns is None
        else pc.equal(lengths, len(columns))
    )
    source.report.count_rows("wrong_columns", numbers.filter(pc.invert(fits)).to_pylist())
    numbers, cut, lengths = numbers.filter(fits), cut.filter(fits), lengths.filter(fits)
    found = {"number": numbers}
    for place, name in enumerate(columns or _UNNAMED):
        if name not in _READ:
            continue
        if columns is None and place == len(_UNNAMED) - 1:
            third = pc.if_else(pc.greater(lengths, place), pc.add(cut.offsets[:-1], place), None)
            found[name] = pc.fill_null(cut.values.take(third), "")
        else:
            found[name] = pc.list_element(cut, place)
    return pa.table(found)


def _split(line: str, delimiter: str) -> list[str]:
    if delimiter == " ":
        return line.split()
    if '"' not in line:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter))
    except csv.Error:  # a field of more than 131,072 letters
        return []


def _header(names: list[str], source: Source) -> list[str] | None:
    """Return the columns' names in our words, or None if the line is a row.

    Raises:
        DataError: if two columns have one name: either would do for the other without a word.
    """
    names = [name.strip().lower() for name in names]
    for first, second in _NAMES:
        if first in names and second in names:
            named = {first: "word_a", second: "word_b"}
            ours = [named.get(name, name) for name in names]
            if twice := [name for name in _READ if ours.count(name) > 1]:
                raise DataError(
                    f"{source.path} has two columns for {twice[0]} ({listed(names)}); give one of "
                    "them another name."
                )
            return ours
    return None


def _from_parquet(source: Source) -> Iterator[pa.Table]:
    with source.path.open("rb") as file:
        try:
            table = parquet_rows.open_rows(file)
        except pa.ArrowInvalid as error:
            raise DataError(f"{source.path} is not Parquet ({error}); write it again.") from error
        theirs = table.schema_arrow.names
        names = _header(theirs, source)
        if names is None:
            raise DataError(
                f"{source.path} has the columns {listed(theirs)}; "
                "name two of them word_a and word_b."
            )
        ours = {own: name for own, name in zip(theirs, names, strict=True) if name in _READ}
        for own, name in ours.items():
            kind = table.schema_arrow.field(own).type
            if name in _UNNAMED and not parquet_rows.is_text(kind):  # a list would be one word
                raise DataError(
                    f"The column {own} of {source.path} is no text but {kind}; write a row with "
                    "two words for each pair."
                )
        with input_files.damage_told(source.path):
            for number, batch in _batches(table, file, list(ours), source):
                numbers = pa.array(np.arange(number, number + len(batch)))
                good = _is_utf8(batch)
                source.report.count_rows("not_utf8", numbers.filter(pc.invert(good)).to_pylist())
                rows = batch.filter(good)
                read = {
                    name: _texts(rows[own], f"{own!r} of {source.path}")
                    for own, name in ours.items()
                }
                yield pa.table({"number": numbers.filter(good)} | read)
    source.advance(source.path.stat().st_size)


def _batches(
    table: pq.ParquetFile, file: BinaryIO, columns: list[str], source: Source
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield rows, put together into blocks of bounded size, with the number of their first."""
    start, held = 1, list[pa.RecordBatch]()

    def block() -> tuple[int, pa.RecordBatch]:
        whole = pa.concat_batches(held)
        held.clear()
        return start - len(whole), whole

    for batch in parquet_rows.batches_of(table, file, columns, max_rows=_BATCH_ROWS):
        if isinstance(batch, int):
            if held:
                yield block()
            source.report.count("long_line", start)
            source.report.counts["long_line"] += batch - 1
            start += batch
            continue
        held.append(batch)
        start += len(batch)
        if sum(map(len, held)) >= _BATCH_ROWS or sum(b.nbytes for b in held) >= _BLOCK_BYTES:
            yield block()
    if held:
        yield block()


def _is_utf8(batch: pa.RecordBatch) -> pa.Array:
    """Say of each row whether its texts are UTF-8; Arrow takes any bytes of a file for text."""
    good = np.ones(len(batch), bool)
    for column in batch.columns:
        is_packed = pa.types.is_dictionary(column.type)
        try:
            (column.dictionary_decode() if is_packed else column).validate(full=True)
        except pa.ArrowInvalid:
            if not parquet_rows.is_text(column.type):
                raise
            texts = parquet_rows.values_of(column, "")
            good &= [not text or _LONE.search(text) is None for text in texts]
    return pa.array(good)


def _texts(column: pa.Array, place: str) -> pa.Array:
    """Return values as text: a list's with spaces between them, nothing for a null."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return pc.fill_null(column.cast(_TEXT), "")
    return pa.array([_text(value) for value in parquet_rows.values_of(column, place)], _TEXT)


def _text(value: object) -> str:
    if isinstance(value, list):
        return " ".join(str(part) for part in value)
    return "" if value is None else str(value)


def _pairs(fields: pa.Table, relation: Relation | None, source: Source) -> pa.Table:
    """Return the usable rows as pairs, and count the others."""
    n_rows = len(fields)
    said = {name: fields[name].combine_chunks() for name in _READ if name in fields.column_names}
    words = pa.concat_arrays([said["word_a"], said["word_b"]]).dictionary_encode()
    spelled, fault, keys = _cleaned(words.dictionary)
    of_a, of_b = words.indices.slice(0, n_rows), words.indices.slice(n_rows)
    stated = _over_distinct(said.get("relation"), _relation_of(relation), _TEXT, n_rows)
    weight = _over_distinct(said.get("weight"), _weight, pa.float32(), n_rows)
    code = pc.coalesce(
        fault.take(of_a),
        fault.take(of_b),
        _where(pc.equal(keys.take(of_a), keys.take(of_b)), "self_link"),
        _where(pc.is_null(stated), "unknown_relation"),
        _where(pc.is_null(weight), "wrong_weight"),
    )
    dirty = pc.is_valid(code)
    for value in pc.unique(code.filter(dirty)).to_pylist():
        lines = fields["number"].filter(pc.fill_null(pc.equal(code, value), False))
        source.report.count_rows(value, lines.to_pylist())
    columns = {
        "word_a": spelled.take(of_a),
        "word_b": spelled.take(of_b),
        "relation": stated,
        "source": pa.repeat(f"{source.name}:{source.path.name}", n_rows),
        "pos": _over_distinct(said.get("pos"), str.strip, _TEXT, n_rows),
        "sense": _over_distinct(said.get("sense"), tidy, _TEXT, n_rows),
        "tags": _over_distinct(
            said.get("tags"), lambda text: sorted({*text.split()}), pa.list_(_TEXT), n_rows
        ),
        "licence": pa.repeat(source.licence, n_rows),
        "weight": weight,
    }
    pairs = pa.table(columns, schema=PAIR_SCHEMA).filter(pc.invert(dirty))
    if len(pairs):
        source.report.counts["pairs"] += len(pairs)
    return pairs


def _cleaned(words: pa.Array) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Return words tidied, why each is none (or null), and what it is matched by."""
    odd = pc.invert(
        pc.and_(pc.ascii_is_alpha(words), pc.less_equal(pc.binary_length(words), MAX_LETTERS))
    )
    tidied, faults = pa.array([], _TEXT), pa.array([], _TEXT)
    if pc.any(odd).as_py():
        columns = zip(*map(clean, words.filter(odd).to_pylist()), strict=True)
        tidied, faults = (pa.array(column, _TEXT) for column in columns)
    folded = pa.array([word.casefold() for word in tidied.to_pylist()], _TEXT)
    return (
        pc.replace_with_mask(words, odd, tidied),
        pc.replace_with_mask(pa.nulls(len(words), _TEXT), odd, faults),
        pc.replace_with_mask(pc.ascii_lower(words), odd, folded),
    )


def _over_distinct(
    column: pa.Array | None, function: Callable[[str], Any], kind: pa.DataType, n_rows: int
) -> pa.Array:
    """Apply a function to every text of a column, once a distinct one; "" where there is none."""
    if column is None:
        values, indices = [""], pa.array(np.zeros(n_rows, np.int32))
    else:
        encoded = column.dictionary_encode()
        values, indices = encoded.dictionary.to_pylist(), encoded.indices
    return pa.array([function(value) for value in values], kind).take(indices)


def _where(condition: pa.Array, code: str) -> pa.Array:
    return pc.if_else(condition, code, pa.scalar(None, _TEXT))


def _relation_of(relation: Relation | None) -> Callable[[str], str | None]:
    """Return what says which relation a row states: null where it states none."""

    def stated(text: str) -> str | None:
        said = text.strip().lower()
        # A third word in a file of synonyms is no relation either.
        known = _RELATIONS.get(said)
        return relation if not said else known and (relation or known)

    return stated


def _weight(text: str) -> float | None:
    try:
        weight = float(text or 1.0)
    except ValueError:
        return None
    return weight if 0.0 < weight <= 1.0 else None
