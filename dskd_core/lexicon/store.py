"""All sources of a configuration read into one artifact: pairs and derivations.

A shard is a range of one file's lines, read into ``rows.parquet`` of a ``lexicon-shard`` artifact.
Shards are published one by one, so a killed run finds those it finished, and a new list of sources
finds the files it has in common with an old one. The ``lexicon`` artifact holds the distinct rows
of all shards, sorted by all columns: its bytes do not depend on how the files were cut.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from dskd_core.config import LexiconConfig, SourceConfig
from dskd_core.errors import DataError
from dskd_core.lexicon.exclusions import EXCLUSIONS, read_exclusions
from dskd_core.lexicon.files import byte_ranges, files_of, local_path
from dskd_core.lexicon.registry import Reader, reader_of
from dskd_core.lexicon.rows import SCHEMAS, DerivationRow, PairRow, Report, Source
from dskd_core.progress import Progress, silent
from dskd_core.store.artifacts import Artifact, ArtifactStore, Draft, Work, fingerprint_of
from dskd_core.store.parquet import database, read_files, write_query, write_rows
from dskd_core.store.places import is_remote, sha256_of_file

LEXICON_PAIRS = "lexicon_pairs.parquet"
DERIVATIONS = "derivations.parquet"
ROWS = "rows.parquet"
_TABLES: dict[str, type[msgspec.Struct]] = {LEXICON_PAIRS: PairRow, DERIVATIONS: DerivationRow}
Advance = Callable[[int], None]
_EXCLUDED = """(
    lower(word_a) IN (SELECT lower(word_a) FROM exclusions WHERE word_b = '')
    OR lower(word_b) IN (SELECT lower(word_a) FROM exclusions WHERE word_b = '')
    OR (least(lower(word_a), lower(word_b)), greatest(lower(word_a), lower(word_b)), relation) IN (
        SELECT (least(lower(e.word_a), lower(e.word_b)),
                greatest(lower(e.word_a), lower(e.word_b)), r.relation)
        FROM exclusions e, (VALUES ('synonym'), ('antonym')) r (relation)
        WHERE e.word_b <> '' AND e.relation IN ('', r.relation)
    )
)"""


@dataclass(frozen=True)
class FoundSource:
    """A source of the configuration, found and identified.

    Attributes:
        kind: the name of its reader.
        reader: how to read it.
        path: its file or folder.
        licence: of its rows.
        made_on: the day it was extracted, where the configuration says so.
        fingerprint: a hash of its content.
        ranges: the bytes of its shards.
    """

    kind: str
    reader: Reader
    path: Path
    licence: str
    made_on: date | None
    fingerprint: str
    ranges: tuple[tuple[int, int], ...]

    @property
    def settings(self) -> dict[str, Any]:
        """What of it, beside its content, changes its rows or its report."""
        # A file's own name is part of the rows of a word-pair file, its folder is not.
        name = {"kind": self.kind, "licence": self.licence, "file": self.path.name}
        return name | ({"made_on": self.made_on.isoformat()} if self.made_on else {})


def build_lexicon(
    store: ArtifactStore, config: LexiconConfig, *, progress: Progress = silent
) -> Artifact:
    """Read every source into ``lexicon_pairs.parquet`` and ``derivations.parquet``.

    Rows are distinct and sorted by all columns. The record's report says for each source how many
    rows it gave and what was left out, with the first line numbers of damaged rows. Memory does not
    grow with the size of a file. ``progress`` is told the bytes read.

    Raises:
        ConfigError: if a kind is unknown or a file is not there.
        DataError: if a file cannot be read at all, or nothing in it is usable.
    """
    sources = find_sources(config)
    all_sources = [source for of_table in sources.values() for source in of_table]
    excluded = local_path(config.exclude_uri) if config.exclude_uri else None
    work = Work(
        "lexicon",
        _content_settings(config) | {"sources": [source.settings for source in all_sources]},
        {f"{i}-{source.kind}": source.fingerprint for i, source in enumerate(all_sources)}
        | ({"exclude": sha256_of_file(excluded)} if excluded else {}),
        version=3,
    )
    if found := store.find(work):
        return found
    advance = _bytes_reader(all_sources, progress)
    exclusions = read_exclusions(excluded) if excluded else None
    shards = {
        name: [
            [read_shard(store, config, s, i, advance) for i in range(len(s.ranges))]
            for s in of_table
        ]
        for name, of_table in sources.items()
    }
    with store.publish(work) as draft:
        for name in _TABLES:
            left_out = exclusions if name == LEXICON_PAIRS else None
            _join(draft, name, sources[name], shards[name], left_out)
        if exclusions is not None:
            draft.write_table(EXCLUSIONS, exclusions)
    return store.get(work.stage, work.fingerprint)


def find_sources(config: LexiconConfig) -> dict[str, list[FoundSource]]:
    """Find and identify the sources of each table, in the order they are read in."""
    return {
        LEXICON_PAIRS: [_find_source(source, PairRow, config) for source in config.sources],
        DERIVATIONS: [_find_source(source, DerivationRow, config) for source in config.morphology],
    }


def _content_settings(config: LexiconConfig) -> dict[str, Any]:
    """Settings that change rows; how files are cut into shards does not."""
    return config.model_dump(
        mode="json", exclude={"sources", "morphology", "shard_bytes", "exclude_uri"}
    )


def _find_source(
    source: SourceConfig, row: type[msgspec.Struct], config: LexiconConfig
) -> FoundSource:
    reader = reader_of(source.kind, row)
    path = local_path(source.uri, reader.files)
    files = files_of(path, reader.files)
    ranges = (
        byte_ranges(path, config.shard_bytes)
        if reader.by_line
        else [(0, sum(file.stat().st_size for file in files))]
    )
    digests = [sha256_of_file(file) for file in files]
    return FoundSource(
        kind=source.kind,
        reader=reader,
        path=path,
        licence=source.licence or reader.licence,
        made_on=source.made_on,
        fingerprint=digests[0] if len(digests) == 1 else fingerprint_of(digests),
        ranges=tuple(ranges),
    )


def _bytes_reader(sources: list[FoundSource], progress: Progress) -> Advance:
    n_total, n_done = sum(source.ranges[-1][1] for source in sources), 0

    def advance(n_bytes: int) -> None:
        nonlocal n_done
        n_done += n_bytes
        progress(n_done, n_total, "bytes")

    return advance


def read_shard(
    store: ArtifactStore, config: LexiconConfig, source: FoundSource, index: int, advance: Advance
) -> Artifact:
    """Read one range of a source, unless that was done before; ``advance`` is told its bytes."""
    start, stop = source.ranges[index]
    work = Work(
        "lexicon-shard",
        _content_settings(config) | source.settings | {"bytes": list(source.ranges[index])},
        {"file": source.fingerprint},
        version=2,
    )
    if found := store.find(work):
        advance(stop - start)
        return found
    with store.publish(work) as draft:
        of_range = Source(
            path=source.path,
            name=source.kind,
            licence=source.licence,
            settings=config,
            advance=advance,
            start=start,
            stop=stop,
            made_on=source.made_on,
        )
        rows = source.reader.read(of_range)
        draft.counts["rows"] = write_rows(draft.path(ROWS), rows, SCHEMAS[source.reader.row])
        draft.report |= of_range.report.as_json()
    return store.get(work.stage, work.fingerprint)


def _join(
    draft: Draft,
    name: str,
    sources: list[FoundSource],
    shards: list[list[Artifact]],
    exclusions: pa.Table | None,
) -> None:
    """Write the distinct rows of all shards of a table, and what was left out of each source."""
    stem = name.removesuffix(".parquet").removeprefix("lexicon_")
    draft.report[stem] = [_report(s, of_s) for s, of_s in zip(sources, shards, strict=True)]
    files = [_local_rows(shard, draft) for of_source in shards for shard in of_source]
    if not files:
        draft.counts[f"n_{stem}"] = 0
        return draft.write_table(name, SCHEMAS[_TABLES[name]].empty_table())
    with database() as connection:
        connection.register("spooled", read_files(connection, files))
        sql = "SELECT DISTINCT * FROM spooled"
        if exclusions is not None:
            connection.register("exclusions", exclusions)
            draft.report["excluded"] = _count_excluded(connection)
            sql = f"{sql} WHERE NOT {_EXCLUDED}"
        draft.counts[f"n_{stem}"] = write_query(connection, f"{sql} ORDER BY ALL", draft.path(name))
    for file in files:
        if file.parent == draft.folder:
            file.unlink()
    return None


def _count_excluded(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Count the lines of the exclude list, and the distinct pairs of the sources that it drops.

    A line may yet drop pairs that negation makes: the relations count those.
    """
    (n_lines,), *_ = connection.execute("SELECT count(*) FROM exclusions").fetchall()
    sql = f"SELECT count(*) FROM (SELECT DISTINCT * FROM spooled WHERE {_EXCLUDED})"
    (n_rows,), *_ = connection.execute(sql).fetchall()
    return {"lines": int(n_lines), "pairs": int(n_rows)}


def _local_rows(shard: Artifact, draft: Draft) -> Path:
    if not is_remote(shard.uri):
        return shard.folder() / ROWS
    copy = draft.path(shard.fingerprint)
    copy.write_bytes(shard.read_bytes(ROWS))
    return copy


def _report(source: FoundSource, shards: list[Artifact]) -> dict[str, Any]:
    """Return what one source gave.

    Raises:
        DataError: if that is nothing.
    """
    report = Report()
    for shard in shards:
        report.extend(Report.from_json(shard.record.report))
    n_rows = sum(shard.record.counts["rows"] for shard in shards)
    # A sheet of MorphoLEX may well have no negating affix; pairs there must be.
    if not n_rows and (source.reader.row is PairRow or report.counts):
        left_out = ", ".join(f"{n} {code}" for code, n in sorted(report.counts.items()) if n)
        lines = sorted(line for known in report.lines.values() for line in known)
        where = f"; see line {lines[0]}" if lines else ""
        raise DataError(
            f"{source.path} has no usable row for the reader {source.kind} "
            f"(left out: {left_out or 'nothing'}{where}); give a file of that kind."
        )
    origin = {"kind": source.kind, "file": source.path.name, "licence": source.licence}
    return origin | {"n_rows": n_rows} | report.as_json()
