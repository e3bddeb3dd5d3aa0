from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from dskd_core.config import LexiconConfig
from dskd_core.lexicon.files import files_of
from dskd_core.lexicon.registry import readers
from dskd_core.lexicon.rows import DerivationRow, PairRow, Report, Source

SHARED = Path(__file__).parents[3].parent / "shared" / "data"


@pytest.fixture
def read(tmp_path: Path) -> Callable:
    """Write content to a file, read it with a reader, and return its rows and report."""

    def call(kind: str, content: bytes | str, name: str = "file", **settings):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return _read_file(kind, path, **settings)

    return call


@pytest.fixture
def read_file() -> Callable:
    """Read a file with a reader, and return its rows and report."""
    return _read_file


def _read_file(kind: str, path: Path, **settings):
    reader = readers()[kind]
    report, told = Report(), []
    made_on = settings.pop("made_on", None)
    config = LexiconConfig(**settings)
    source = Source(
        path, kind, reader.licence, config, report=report, advance=told.append, made_on=made_on
    )
    rows = [row for part in reader.read(source) for row in rows_of(part)]
    assert sum(told) == sum(file.stat().st_size for file in files_of(path, reader.files))
    return rows, report


def rows_of(part: pa.Table | PairRow | DerivationRow) -> list:
    """Return what a reader yields, a row or a table of pairs, as rows."""
    if not isinstance(part, pa.Table):
        return [part]
    return [PairRow(**row | {"tags": tuple(row["tags"])}) for row in part.to_pylist()]


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the shared data are not here")
    return SHARED
