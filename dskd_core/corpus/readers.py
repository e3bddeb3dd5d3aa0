"""Documents from MediaWiki XML, JSONL, Parquet, plain text and Hugging Face datasets."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from dskd_core.config import CorpusConfig
from dskd_core.corpus import hub
from dskd_core.corpus.documents import Document, Reading, Wanted, every
from dskd_core.corpus.mediawiki import read_mediawiki
from dskd_core.errors import ConfigError, DataError
from dskd_core.samples import resolve
from dskd_core.store import access, input_files, parquet_rows, places
from dskd_core.store.artifacts import fingerprint_of

DATASET = hub.DATASET
_COMPRESSION = r"(\.(gz|bz2|xz|zst|lz4))?$"
_BY_NAME = (
    ("mediawiki", re.compile(r"\.xml" + _COMPRESSION)),
    ("jsonl", re.compile(r"\.(jsonl|ndjson)" + _COMPRESSION)),
    ("parquet", re.compile(r"\.(parquet|pq)$")),
    ("text", re.compile(r"\.(txt|text|md)" + _COMPRESSION)),
)
_MARKER = re.compile(r"(.*/)?_(SUCCESS|metadata|common_metadata|(committed|started)_\d+)")
_BATCH_ROWS = 256
_SNIFFED_BYTES = 4096


def read_documents(
    config: CorpusConfig, reading: Reading | None = None, wanted: Wanted = every
) -> Iterator[Document]:
    """Yield the documents of ``config.source`` in the order of its files, sorted by name.

    An id is the page id (MediaWiki), the field ``config.id_field``, or else ``file:row`` with rows
    counted from 1; a plain text's id is its path below the source.

    Args:
        config: the source and how to read it.
        reading: where skipped and repaired documents are counted.
        wanted: documents whose id it refuses are passed over before their text is prepared.

    Raises:
        ConfigError: if the source does not exist or nobody knows its format.
        DataError: if a file breaks off or is not what its name says.
    """
    reading = reading if reading is not None else Reading()
    if is_dataset(config):
        yield from _read_dataset(config, reading, wanted)
        return
    files = source_files(config.source)
    reading.n_bytes_total = sum(path.stat().st_size for path in files.values())
    for name, path in files.items():
        with path.open("rb") as file, input_files.damage_told(path):
            reading.file = file
            try:
                yield from _read_file(file, name, len(files) == 1, config, reading, wanted)
            finally:
                reading.file = None
        reading.n_bytes_closed += path.stat().st_size


def is_dataset(config: CorpusConfig) -> bool:
    """Say whether the source is a Hugging Face dataset and not files."""
    return config.format == "dataset" or config.source.startswith(DATASET)


def source_files(source: str) -> dict[str, Path]:
    """Return the source's files, sorted: name below the source -> path. Hidden ones are left out.

    Raises:
        ConfigError: if there are none.
    """
    place = Path(resolve(source)).expanduser()
    if place.is_file():
        return {place.name: place}
    files = {name: place / name for name in places.files_under(place)} if place.is_dir() else {}
    files = {n: p for n, p in files.items() if not any(s.startswith(".") for s in n.split("/"))}
    if not files:
        raise ConfigError(
            f"The corpus source {source!r} is no file and no folder with files; give a local path, "
            f"{DATASET}NAME or sample:enwiki-206."
        )
    for path in files.values():  # a link in the folder may lead out of it
        access.check_readable(str(path), "corpus.source")
    return files


def source_fingerprint(config: CorpusConfig) -> str:
    """Return what names the content of the source: hashes of its files, or a dataset's revision."""
    if is_dataset(config):
        name, commit = hub.dataset_commit(config.source, "corpus.source")
        return f"{DATASET}{name}@{commit}"
    files = source_files(config.source)
    return fingerprint_of({name: places.sha256_of_file(path) for name, path in files.items()})


def format_of(name: str, head: bytes) -> str | None:
    """Return the format of a file by its name, else by its first (decompressed) bytes.

    >>> format_of("enwiki-pages.xml.bz2", b""), format_of("dump", b"<mediawiki xmlns=")
    ('mediawiki', 'mediawiki')
    """
    for form, pattern in _BY_NAME:
        if pattern.search(name.lower()):
            return form
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith((b"<mediawiki", b"<?xml")):
        return "mediawiki"
    if start.startswith(b"{"):
        return "jsonl"
    return "text" if start and b"\0" not in start else None


def _read_file(
    file: io.BufferedReader,
    name: str,
    alone: bool,
    config: CorpusConfig,
    reading: Reading,
    wanted: Wanted,
) -> Iterator[Document]:
    if not alone and _MARKER.fullmatch(name):
        reading.note("marker_file", name)
        return
    try:
        plain = input_files.unpacked(file)
    except input_files.UnreadError:
        if alone:
            raise
        reading.note("unsupported_file", name)
        return
    head = plain.peek(_SNIFFED_BYTES)[:_SNIFFED_BYTES]
    form = format_of(name, head) if config.format == "auto" else config.format
    if form is None and alone and head:
        raise ConfigError(
            f"The format of {name!r} is clear neither from its name nor from its first bytes; "
            "set corpus.format."
        )
    if form is None:
        reading.note("unknown_file" if head else "empty_document", name)
    elif form == "parquet":
        yield from _read_parquet(file, name, config, reading, wanted)
    elif form == "jsonl":
        yield from _read_jsonl(plain, name, config, reading, wanted)
    elif form == "mediawiki":
        yield from read_mediawiki(_decoded(plain), name, reading, wanted)
    elif wanted(name):
        data = input_files.read_within(plain)
        if data is None:
            reading.note("long_document", name)
        else:
            yield Document(name, Path(name).stem, reading.clean(_text(data), name))


def _decoded(stream: io.BufferedReader) -> TextIO:
    # Bytes that are not UTF-8 become lone surrogates, which Reading.clean counts and replaces.
    return io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="\n")


def _text(data: bytes) -> str:
    return data.decode("utf-8-sig", errors="surrogateescape")


def _read_jsonl(
    stream: io.BufferedReader, name: str, config: CorpusConfig, reading: Reading, wanted: Wanted
) -> Iterator[Document]:
    for number, line in enumerate(input_files.lines_of(stream), start=1):
        place = f"{name}:{number}"
        if line is None:
            reading.note("long_line", place)
            continue
        if not line.strip():
            continue
        try:
            row = json.loads(_text(line))
        except (ValueError, RecursionError):
            reading.note("broken_line", place)
            continue
        if isinstance(row, dict):
            yield from _row_document(row, place, config, reading, wanted)
        else:
            reading.note("not_an_object", place)


def _read_parquet(
    file: io.BufferedReader, name: str, config: CorpusConfig, reading: Reading, wanted: Wanted
) -> Iterator[Document]:
    table = parquet_rows.open_rows(file)
    columns = table.schema_arrow.names
    if config.text_field not in columns:
        raise DataError(
            f"{name} has no column {config.text_field!r}; it has {', '.join(columns)}: "
            "set corpus.text_field to one of them."
        )
    read = [c for c in dict.fromkeys((config.text_field, config.id_field, "title")) if c in columns]
    number = 0
    for batch in parquet_rows.batches_of(table, file, read, max_rows=_BATCH_ROWS):
        if isinstance(batch, int):
            reading.note("long_document", f"{name}:{number + 1}", batch)
            number += batch
            continue
        for values in zip(*batch.columns, strict=True):  # as_py, row by row: texts may be long
            number += 1
            row = {n: value.as_py() for n, value in zip(batch.schema.names, values, strict=True)}
            yield from _row_document(row, f"{name}:{number}", config, reading, wanted)


def _read_dataset(config: CorpusConfig, reading: Reading, wanted: Wanted) -> Iterator[Document]:
    name, commit = hub.dataset_commit(config.source, "corpus.source")
    rows = hub.dataset_rows(name, commit, config=config.dataset_config, split=config.dataset_split)
    for number, row in enumerate(rows, start=1):
        yield from _row_document(row, f"{name}:{number}", config, reading, wanted)


def _row_document(
    row: dict[str, Any], place: str, config: CorpusConfig, reading: Reading, wanted: Wanted
) -> Iterator[Document]:
    text, name, title = row.get(config.text_field), row.get(config.id_field), row.get("title")
    if not isinstance(text, str):
        reading.note("no_text", place)
        return
    if len(text) > input_files.MAX_DOCUMENT_BYTES:
        reading.note("long_document", place)
        return
    name = reading.clean(str(name), place) if name not in (None, "") else place
    if wanted(name):
        title = reading.clean(title, place) if isinstance(title, str) else ""
        yield Document(name, title, reading.clean(text, place))
