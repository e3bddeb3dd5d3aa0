"""Rows to Parquet and queries to Parquet, in batches, so that memory does not grow with them."""

import contextlib
import re
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextvars import copy_context
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from dskd_core import interruption
from dskd_core.store.drafts import SPILL

BATCH_ROWS = 65536
_MEMORY = "1200MB"
_WATCH_SECONDS = 0.1
_PATTERN = re.compile(r"([*?\[])")
# Columns with too many values for a dictionary of them to be worth its time.
_VARIED = ("word", "word_a", "word_b", "base")


def write_rows(path: Path, rows: Iterable[msgspec.Struct | pa.Table], schema: pa.Schema) -> int:
    """Write typed rows, or whole tables of them, in the order they come; return their number."""
    n_rows = 0
    repeating = [name for name in schema.names if name not in _VARIED]
    with pq.ParquetWriter(path, schema, compression="lz4", use_dictionary=repeating) as writer:
        for table in _even(_batches(rows, schema)):
            writer.write_table(table)
            n_rows += table.num_rows
    return n_rows


def _batches(
    rows: Iterable[msgspec.Struct | pa.Table], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    stream = iter(rows)
    for first in stream:
        if isinstance(first, pa.Table):
            yield from first.to_batches()
            continue
        batch = [first, *islice(stream, BATCH_ROWS - 1)]
        columns = [pa.array(list(map(attrgetter(f.name), batch)), f.type) for f in schema]
        yield pa.record_batch(columns, schema=schema)


def read_files(
    connection: duckdb.DuckDBPyConnection, files: Iterable[Path]
) -> duckdb.DuckDBPyRelation:
    """Return the rows of Parquet files, and of no other whose name they would match as patterns.

    DuckDB takes ``*``, ``?`` and ``[`` in a path for a pattern; a root named so would read its
    siblings.
    """
    return connection.read_parquet([_PATTERN.sub(r"[\1]", str(file)) for file in files])


def write_query(connection: duckdb.DuckDBPyConnection, sql: str, path: Path) -> int:
    """Write the rows of a query, which must fix their order, and return how many there were.

    Row groups are cut by us, not by DuckDB's threads, so equal rows give equal bytes.
    """
    reader = connection.sql(sql).to_arrow_reader(BATCH_ROWS)
    n_rows = 0
    with pq.ParquetWriter(path, reader.schema, compression="zstd") as writer:
        for table in _even(reader):
            writer.write_table(table)
            n_rows += table.num_rows
    return n_rows


def _even(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Yield tables of exactly ``BATCH_ROWS`` rows, the last one shorter."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(part.num_rows for part in held) >= BATCH_ROWS:
            table = pa.Table.from_batches(held)
            yield table.slice(0, BATCH_ROWS).combine_chunks()
            held = table.slice(BATCH_ROWS).to_batches()
    if held:
        yield pa.Table.from_batches(held).combine_chunks()


@contextlib.contextmanager
def database(**settings: Any) -> Iterator[duckdb.DuckDBPyConnection]:
    """Give an in-memory DuckDB that spills to a temporary folder and keeps no order of its own.

    Raises:
        Interrupted: in the midst of a query, if the work is asked to stop.
    """
    with tempfile.TemporaryDirectory(prefix=SPILL) as folder:
        config = {"memory_limit": _MEMORY, "temp_directory": folder, **settings}
        with duckdb.connect(config=config) as connection, interruptible(connection):
            yield connection


@contextlib.contextmanager
def interruptible(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """End the queries of a connection soon after the work that asks them was asked to stop.

    DuckDB asks nobody while it computes, so a thread does.

    Raises:
        Interrupted: in place of what DuckDB, or Arrow on its behalf, says of it.
    """
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_WATCH_SECONDS):
            if interruption.is_requested():
                connection.interrupt()

    # In this context, for a run that is asked to stop is known by it.
    watcher = threading.Thread(target=copy_context().run, args=(watch,), daemon=True)
    watcher.start()
    try:
        yield
    except (duckdb.Error, OSError):
        interruption.check()
        raise
    finally:
        done.set()
        watcher.join()
