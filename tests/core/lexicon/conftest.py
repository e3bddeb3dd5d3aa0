from collections.abc import Callable
from pathlib import Path

import pytest

from dskd_core.config import LexiconConfig
from dskd_core.lexicon.registry import DERIVATION_READERS, PAIR_READERS
from dskd_core.lexicon.rows import Report, Source

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
    reader = (PAIR_READERS | DERIVATION_READERS)[kind]
    report, told = Report(), []
    config = LexiconConfig(**settings)
    source = Source(path, kind, reader.licence, config, report, told.append)
    rows = list(reader.read(source))
    assert sum(told) == path.stat().st_size
    return rows, report


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the shared data are not here")
    return SHARED
