"""How long files take to be read: lexicons by their bytes and rows, a corpus by its text."""

from dataclasses import dataclass
from pathlib import Path

from dskd_core import samples
from dskd_core.config import CorpusConfig, LexiconConfig, SourceConfig
from dskd_core.corpus.readers import is_dataset, source_files
from dskd_core.errors import ConfigError
from dskd_core.store import places


@dataclass(frozen=True)
class Format:
    """What one core of the reference machine does with a kind of file."""

    bytes_a_second: float
    rows_a_byte: float


_FORMATS = {
    "roget": Format(0.9e6, 0.1),  # 1.5 MB in 1.7 s to 150,359 rows
    "morphynet": Format(49e6, 0.003),  # 74 MB in 1.5 s to 222,639 rows
    "wiktextract": Format(80e6, 0.001),  # docs/benchmarks.md: 302 MB
}
_OTHER = Format(10e6, 0.03)
"""A row of some 30 bytes; taken, not measured."""
_JOINED_ROWS_A_SECOND = 390_000.0
_RELATED_ROWS_A_SECOND = 67_000.0
_SPELLED_ROWS_A_SECOND = 130_000.0
"""372,985 rows in 0.95 s, 5.5 s and 2.9 s: distinct and sorted, expanded by negation, spelled."""
_PARSED_BYTES_A_SECOND = 0.15e6
"""Compressed bytes of a MediaWiki dump: all of its articles are prepared, however few are taken;
1.7 MB in 11.3 s."""
_TOKENIZED_A_SECOND = 250_000.0
"""Tokens of one core: 264,000 to 322,000 of SmolLM2's a second of processor time. On two cores as
many a core, so a machine has as many times more as it has cores."""
_READ_TOKENS_A_SECOND = 5e6
"""Tokens whose text one process reads from Parquet, picks and cuts: 5.7 to 7.4 million."""


def corpus_seconds(config: CorpusConfig, n_tokens: int, n_cores: int) -> float:
    """Return the seconds of reading and tokenizing a corpus.

    Each of ``n_cores`` tokenizes as fast as one of the reference machine.
    """
    seconds = n_tokens / _READ_TOKENS_A_SECOND + n_tokens / (n_cores * _TOKENIZED_A_SECOND)
    if is_dataset(config) or places.is_remote(config.source):
        return seconds
    for name, path in source_files(config.source).items():
        if ".xml" in name:
            seconds += path.stat().st_size / _PARSED_BYTES_A_SECOND
    return seconds


def branch_seconds(config: LexiconConfig) -> dict[str, float]:
    """Return the seconds of lexicon, relations and words on a core of the reference machine.

    A file that is not there counts nothing: the stage will say so.
    """
    reading, rows = 0.0, 0.0
    for source in (*config.sources, *config.morphology):
        format_ = _FORMATS.get(source.kind, _OTHER)
        n_bytes = _bytes_of(source)
        reading += n_bytes / format_.bytes_a_second
        rows += n_bytes * format_.rows_a_byte
    return {
        "lexicon": reading + rows / _JOINED_ROWS_A_SECOND,
        "relations": rows / _RELATED_ROWS_A_SECOND,
        "words": rows / _SPELLED_ROWS_A_SECOND,
    }


def _bytes_of(source: SourceConfig) -> int:
    try:
        resolved = samples.resolve(source.uri)
    except ConfigError:
        return 0
    if places.is_remote(resolved):
        return 0
    path = Path(resolved).expanduser()
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
