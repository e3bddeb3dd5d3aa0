"""Rows of Parquet files of people, so many at a time as fit into bounded memory.

A page of a column is decompressed whole, and a few hundred bytes can stand for two gigabytes. What
the footer says of that may be wrong, while the header of a page is what Arrow allocates by; so
headers are read first. They are Thrift's compact protocol, of which no installed library reads
them.
"""

import io
from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from dskd_core import interruption
from dskd_core.errors import DataError, shown
from dskd_core.store.input_files import MAX_DOCUMENT_BYTES

_BUFFER_BYTES = 1 << 20
_FOOTER_BYTES = 64 << 20
"""Of 160,000 row groups of two columns; Arrow makes 35 times as much of it in memory."""
_HEADER_BYTES = (1 << 12, 1 << 16, 1 << 24)
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_INTEGERS = (4, 5, 6)
_UNCOMPRESSED, _COMPRESSED = 2, 3  # fields of a PageHeader
_MAX_DEPTH = 8


def open_rows(file: BinaryIO) -> pq.ParquetFile:
    """Open a file whose columns are read through a small buffer, not whole.

    Raises:
        DataError: if what it says of its row groups is larger than memory may bear.
        pyarrow.ArrowInvalid: if it is no Parquet.
    """
    end = file.seek(0, io.SEEK_END)
    file.seek(max(0, end - 8))
    n_bytes = int.from_bytes(file.read(4), "little")
    if file.read() == b"PAR1" and _FOOTER_BYTES < n_bytes < end:
        raise DataError(
            f"{file.name} has a footer of {n_bytes:,} bytes, more than {_FOOTER_BYTES:,}: write it "
            "with larger row groups or fewer columns."
        )
    file.seek(0)
    return pq.ParquetFile(file, buffer_size=_BUFFER_BYTES)


def batches_of(
    table: pq.ParquetFile,
    file: BinaryIO,
    columns: list[str],
    *,
    max_rows: int,
    limit: int = MAX_DOCUMENT_BYTES,
) -> Iterator[pa.RecordBatch | int]:
    """Yield the rows of some columns, none of whose batches has more than ``limit`` bytes a column.

    ``table`` is that of :func:`open_rows` on the same file. ``limit`` is that of a page; a value is
    within one.

    Yields:
        Rows, or how many are passed over: a whole row group where one page of it is larger.

    Raises:
        DataError: if one of the columns stands twice in the file.
        pyarrow.ArrowInvalid: if a page has no header.
    """
    names = table.schema_arrow.names
    if twice := [name for name in columns if names.count(name) > 1]:
        raise DataError(
            f"{file.name} has the column {shown(twice[0])} twice; give one of them another name."
        )
    for number in range(table.num_row_groups):
        if not table.metadata.row_group(number).num_rows:  # which has no page
            continue
        largest = _largest_page(table, file, number, columns, limit)
        if largest > limit:
            yield table.metadata.row_group(number).num_rows
            continue
        rows = max(1, min(max_rows, limit // max(1, largest)))
        for batch in table.iter_batches(rows, row_groups=[number], columns=columns):
            interruption.check()
            yield _without_views(batch)


def _without_views(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return rows whose texts are not views (as polars writes them), which Arrow cannot filter."""
    for place, kind in enumerate(batch.schema.types):
        if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
            plain = pa.string() if pa.types.is_string_view(kind) else pa.binary()
            name = batch.schema.names[place]
            batch = batch.set_column(place, name, batch.column(place).cast(plain))
    return batch


def is_text(kind: pa.DataType) -> bool:
    """Say whether the values of a type are text, or would be if there were any."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(is_kind(kind) for is_kind in (*kinds, pa.types.is_null))


def values_of(column: pa.Array, place: str) -> Iterator[Any]:
    """Yield a column's values as Python's own; bytes of text that are no UTF-8 as lone surrogates.

    Raises:
        DataError: if one is none that Python has, such as a date of the year 30,000.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    holds_text = is_text(column.type)
    for value in column:
        if holds_text:
            held = value.as_buffer() if value.is_valid else None
            yield None if held is None else str(held, "utf-8", "surrogateescape")
            continue
        try:
            found = value.as_py()
        except (ValueError, KeyError, OverflowError) as error:  # KeyError: an unknown time zone
            raise DataError(
                f"{place} is a column of the type {column.type} and has a value that cannot be "
                f"read ({shown(str(error))}); name a column of texts or numbers."
            ) from error
        yield found


def _largest_page(
    table: pq.ParquetFile, file: BinaryIO, number: int, columns: list[str], limit: int
) -> int:
    """Return the bytes of the largest page, unpacked, of some columns of a row group.

    The values of a list may be in several pages: there the whole column counts as one.
    """
    group, largest = table.metadata.row_group(number), 0
    for place in range(group.num_columns):
        column, leaf = group.column(place), table.schema.column(place)
        path = column.path_in_schema  # a dot is in a name, or between those of nested values
        if not any(path == name or path.startswith(f"{name}.") for name in columns):
            continue
        sizes = _page_sizes(file, column)
        if leaf.max_repetition_level:
            largest = max(largest, sum(sizes), _BUFFER_BYTES, 8 * column.num_values)
        else:
            largest = max(largest, *sizes, 1)
        if largest > limit:
            break
    return largest


def _page_sizes(file: BinaryIO, column: pq.ColumnChunkMetaData) -> list[int]:
    """Return the bytes of every page of a column, unpacked."""
    starts = [column.data_page_offset]
    if column.has_dictionary_page and column.dictionary_page_offset:
        starts.append(column.dictionary_page_offset)
    place, sizes = min(starts), []
    stop = place + column.total_compressed_size
    here = file.tell()
    try:
        while place < stop:
            interruption.check()
            unpacked, packed, length = _read_header(file, place)
            sizes.append(unpacked)
            place += length + packed
    finally:
        file.seek(here)
    return sizes


def _read_header(file: BinaryIO, place: int) -> tuple[int, int, int]:
    """Return a page's bytes unpacked and packed, and those of its header."""
    for size in _HEADER_BYTES:
        file.seek(place)
        data = file.read(size)
        try:
            numbers, length = _Compact(data).read_struct()
        except IndexError:
            if len(data) < size:
                break
            continue
        sizes = numbers.get(_UNCOMPRESSED, -1), numbers.get(_COMPRESSED, -1)
        if min(sizes) < 0:
            break
        return *sizes, length
    raise pa.ArrowInvalid(f"no header of a page at byte {place}")


class _Compact:
    """A struct in Thrift's compact protocol: its numbers, and where it ends.

    >>> _Compact(bytes([0x15, 0x04, 0x15, 0x80, 0x02, 0x00])).read_struct()
    ({1: 2, 2: 128}, 6)
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    def read_struct(self) -> tuple[dict[int, int], int]:
        return self._struct(0), self._place

    def _byte(self) -> int:
        self._place += 1
        return self._data[self._place - 1]

    def _unsigned(self) -> int:
        number = shift = 0
        while (byte := self._byte()) & 0x80:
            number |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise pa.ArrowInvalid("a number without an end in the header of a page")
        return number | byte << shift

    def _signed(self) -> int:
        number = self._unsigned()
        return (number >> 1) ^ -(number & 1)

    def _pass(self, n_bytes: int) -> None:
        self._place += n_bytes
        if self._place > len(self._data):
            raise IndexError

    def _struct(self, depth: int) -> dict[int, int]:
        if depth > _MAX_DEPTH:
            raise pa.ArrowInvalid("the header of a page has too many levels")
        numbers, field = {}, 0
        while (header := self._byte()) & 0x0F:
            field = field + (header >> 4) if header >> 4 else self._signed()
            kind = header & 0x0F
            if kind in _INTEGERS:
                numbers[field] = self._signed()
            elif kind not in (_TRUE, _FALSE):  # which are their own value
                self._skip(kind, depth)
        return numbers

    def _skip(self, kind: int, depth: int) -> None:
        if kind in (_TRUE, _FALSE, _BYTE):
            self._pass(1)
        elif kind in _INTEGERS:
            self._unsigned()
        elif kind == _DOUBLE:
            self._pass(8)
        elif kind == _BINARY:
            self._pass(self._unsigned())
        elif kind == _STRUCT:
            self._struct(depth + 1)
        elif kind in (_LIST, _SET):
            header = self._byte()
            n_values = header >> 4 if header >> 4 < 15 else self._unsigned()
            for _ in range(n_values):
                self._skip(header & 0x0F, depth + 1)
        else:  # a page has no maps
            raise pa.ArrowInvalid(f"a value of the kind {kind} in the header of a page")
