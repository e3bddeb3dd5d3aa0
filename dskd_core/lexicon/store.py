"""All sources of a configuration read into one artifact: pairs and derivations."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dskd_core.artifacts import Artifact, ArtifactStore, Draft, Work
from dskd_core.config import LexiconConfig, SourceConfig
from dskd_core.errors import DataError
from dskd_core.lexicon.files import local_path
from dskd_core.lexicon.parquet import database, write_query, write_rows
from dskd_core.lexicon.registry import DERIVATION_READERS, PAIR_READERS, Reader, reader_of
from dskd_core.lexicon.rows import DERIVATION_SCHEMA, PAIR_SCHEMA, Report, Source
from dskd_core.progress import Progress, silent
from dskd_core.storage import sha256_of_file

PAIRS = "pairs.parquet"
DERIVATIONS = "derivations.parquet"


def build_lexicon(
    store: ArtifactStore, config: LexiconConfig, *, progress: Progress = silent
) -> Artifact:
    """Read every source into ``pairs.parquet`` and ``derivations.parquet``.

    Rows are distinct and sorted by all columns. The record's report says for each source how many
    rows it gave and what was left out, with the first line numbers of damaged rows.

    Args:
        store: where artifacts are kept.
        config: the sources and their settings.
        progress: told the bytes read.

    Raises:
        ConfigError: if a kind is unknown or a file is not there.
        DataError: if a file cannot be read at all, or nothing in it is usable.
    """
    sources = [(s, reader_of(s.kind, PAIR_READERS), local_path(s.uri)) for s in config.sources]
    derived = [
        (s, reader_of(s.kind, DERIVATION_READERS), local_path(s.uri)) for s in config.morphology
    ]
    work = _work(config, [*sources, *derived])
    found = store.find(work)
    if found is not None:
        return found
    advance = _bytes_reader([path for *_, path in [*sources, *derived]], progress)
    with store.publish(work) as draft:
        _fill(draft, PAIRS, sources, config, advance)
        _fill(draft, DERIVATIONS, derived, config, advance)
    return store.open(store.uri(work))


Entry = tuple[SourceConfig, Reader, Path]


def _work(config: LexiconConfig, entries: list[Entry]) -> Work:
    settings = config.model_dump(mode="json", exclude={"sources", "morphology"})
    settings["sources"] = [
        # A file's own name is part of the rows of a word-pair file, its folder is not.
        {"kind": s.kind, "licence": s.licence or reader.licence, "file": path.name}
        for s, reader, path in entries
    ]
    inputs = {f"{i}-{s.kind}": sha256_of_file(path) for i, (s, _, path) in enumerate(entries)}
    return Work("lexicon", config=settings, inputs=inputs)


def _bytes_reader(paths: list[Path], progress: Progress) -> Callable[[int], None]:
    n_total, n_done = sum(path.stat().st_size for path in paths), 0

    def advance(n_bytes: int) -> None:
        nonlocal n_done
        n_done += n_bytes
        progress(n_done, n_total, "bytes")

    return advance


def _fill(
    draft: Draft,
    name: str,
    entries: list[Entry],
    config: LexiconConfig,
    advance: Callable[[int], None],
) -> None:
    """Read ``entries`` one after the other into a spool, then write it distinct and sorted."""
    reports: list[dict[str, Any]] = []

    def rows() -> Iterator[Any]:
        for entry, reader, path in entries:
            licence = entry.licence or reader.licence
            source = Source(path, entry.kind, licence, config, Report(), advance)
            n_rows = 0
            for row in reader.read(source):
                n_rows += 1
                yield row
            # A sheet of MorphoLEX may well have no negating affix; pairs there must be.
            if not n_rows and (name == PAIRS or source.report.counts):
                raise DataError(
                    f"{path} has no usable row for the reader {entry.kind} "
                    f"(left out: {dict(source.report.counts)}); give a file of that kind."
                )
            origin = {"kind": entry.kind, "file": path.name, "licence": licence, "n_rows": n_rows}
            reports.append(origin | source.report.as_json())

    spool = draft.path(f"spool-{name}")
    write_rows(spool, rows(), PAIR_SCHEMA if name == PAIRS else DERIVATION_SCHEMA)
    with database() as connection:
        spooled = connection.from_parquet(str(spool))
        sql = "SELECT DISTINCT * FROM spooled ORDER BY ALL"
        connection.register("spooled", spooled)
        stem = name.removesuffix(".parquet")
        draft.counts[f"n_{stem}"] = write_query(connection, sql, draft.path(name))
    spool.unlink()
    draft.report[stem] = reports
