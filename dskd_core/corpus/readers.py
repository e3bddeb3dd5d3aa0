"""Documents from MediaWiki XML, JSONL, Parquet, plain text and Hugging Face datasets."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from dskd_core.config import CorpusConfig
from dskd_core.corpus import hub
from dskd_core.corpus.documents import Document, Reading, Wanted, every
from dskd_core.corpus.mediawiki import read_mediawiki
from dskd_core.errors import ConfigError, DataError, listed
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
_OTHER_NAMES = re.compile(
    r"\.(json|csv|tsv|tab|x?html?|pdf|ps|rtf|arrow|feather|avro|orc|warc|ya?ml|toml)" + _COMPRESSION
)
_OTHER_STARTS = re.compile(
    rb"(%PDF|%!PS|\{\\rtf|\[\s*[\[{\"]|<!doctype\s+html|<html|WARC/\d)", re.IGNORECASE
)
_WIDE = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")
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
        ConfigError: if there are none, or a name is no UTF-8.
    """
    place = Path(resolve(source)).expanduser()
    if place.is_file():
        return _of_utf8({place.name: place}, source)
    files = {name: place / name for name in places.files_under(place)} if place.is_dir() else {}
    files = {n: p for n, p in files.items() if not any(s.startswith(".") for s in n.split("/"))}
    if not files:
        raise ConfigError(
            f"The corpus source {source!r} is no file and no folder with files; give a local path, "
            f"{DATASET}NAME or sample:enwiki-206."
        )
    for path in files.values():  # a link in the folder may lead out of it
        access.check_readable(str(path), "corpus.source")
    return _of_utf8(files, source)


def _of_utf8(files: dict[str, Path], source: str) -> dict[str, Path]:
    """Return the files, if each has a name that can be written: it becomes a document's id."""
    odd = [name for name in files if any("\ud800" <= letter <= "\udfff" for letter in name)]
    if odd:
        raise ConfigError(
            f"The corpus source {source!r} has {len(odd)} files whose names are no UTF-8 "
            f"({odd[0]!a}); rename them."
        )
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

    None where it is in another: data of other formats would make text of their markup.

    >>> format_of("enwiki-pages.xml.bz2", b""), format_of("dump", b"<mediawiki xmlns=")
    ('mediawiki', 'mediawiki')
    >>> format_of("data.csv", b"id,text"), format_of("data", b'[{"text": "a"}]')
    (None, None)
    """
    for form, pattern in _BY_NAME:
        if pattern.search(name.lower()):
            return form
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    named = _OTHER_NAMES.search(name.lower())
    if _OTHER_STARTS.match(start) or (named and not (named[1] == "json" and start[:1] == b"{")):
        return None
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith((b"<mediawiki", b"<?xml")):
        return "mediawiki"
    if start.startswith(b"{"):
        return "jsonl"
    return "text" if start and b"\0" not in start else None


def _is_wide(head: bytes) -> bool:
    """Say whether letters take two bytes or four: half of all bytes are zero then in Latin text."""
    return head.startswith(_WIDE) or head.count(0) * 4 > len(head)


def _known_form(name: str, head: bytes, alone: bool, config: CorpusConfig) -> str | None:
    """Return how a file is read, None for one of a folder that is not.

    Raises:
        ConfigError: if it is alone and in another format.
        DataError: if it is alone and no UTF-8.
    """
    form = format_of(name, head) if config.format == "auto" else config.format
    if form == "mediawiki" and config.format == "auto" and b"<mediawiki" not in head:
        form = None  # XML of another kind has no page
    if form not in {None, "parquet"} and _is_wide(head):
        if alone:
            raise DataError(f"{name!r} is UTF-16 or UTF-32 by its first bytes; save it as UTF-8.")
        form = None
    if form is None and alone and head:
        raise ConfigError(
            f"{name!r} is in no format that is read, by its name and its first bytes; write its "
            "texts as JSON lines, Parquet or plain text, or set corpus.format to one of these if "
            "it is that."
        )
    return form


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
    form = _known_form(name, head, alone, config)
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
    lines = (None if line is None else _text(line) for line in input_files.lines_of(stream))
    for place, row in input_files.json_objects(lines, name, reading):
        if row is not None:
            yield from _row_document(row, place, config, reading, wanted)


def _read_parquet(
    file: io.BufferedReader, name: str, config: CorpusConfig, reading: Reading, wanted: Wanted
) -> Iterator[Document]:
    table = parquet_rows.open_rows(file)
    columns = table.schema_arrow.names
    if config.text_field not in columns:
        raise DataError(
            f"{name} has no column {config.text_field!r}; it has {listed(columns)}: "
            "set corpus.text_field to one of them."
        )
    read = [c for c in dict.fromkeys((config.text_field, config.id_field, "title")) if c in columns]
    number = 0
    for batch in parquet_rows.batches_of(table, file, read, max_rows=_BATCH_ROWS):
        if isinstance(batch, int):
            reading.note("long_document", f"{name}:{number + 1}", batch)
            number += batch
            continue
        values = (parquet_rows.values_of(batch[n], f"{n!r} of {name}") for n in read)
        for row in zip(*values, strict=True):  # row by row: texts may be long
            number += 1
            fields = dict(zip(read, row, strict=True))
            yield from _row_document(fields, f"{name}:{number}", config, reading, wanted)


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
    name = reading.name(str(name), place) if name not in (None, "") else place
    if wanted(name):
        title = reading.name(title, place) if isinstance(title, str) else ""
        yield Document(name, title, reading.clean(text, place))
