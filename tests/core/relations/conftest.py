from collections.abc import Callable
from pathlib import Path

import pytest

from dskd_core.config import LexiconConfig, RelationsConfig, SourceConfig
from dskd_core.lexicon import build_lexicon
from dskd_core.relations import build_relations
from dskd_core.store.artifacts import Artifact, ArtifactStore

DERIVATIONS = """kind\tunkind\tJ\tJ\tun\tprefix
friendly\tunfriendly\tJ\tJ\tun\tprefix
fault\tfaultless\tN\tJ\tless\tsuffix
flaw\tflawless\tN\tJ\tless\tsuffix
flaw\tflawed\tN\tJ\ted\tsuffix
interest\tdisinterest\tN\tN\tdis\tprefix
tie\tuntie\tV\tV\tun\tprefix
"""


@pytest.fixture
def build(tmp_path: Path) -> Callable:
    """Build relations from lines 'word_a,word_b,relation[,pos]' and a handful of derivations."""

    def call(*files: str, root: str = "root", licences: tuple = (), **settings) -> Artifact:
        sources = []
        for i, text in enumerate(files):
            path = tmp_path / f"pairs-{i}.csv"
            path.write_text("word_a,word_b,relation,pos\n" + text)
            licence = licences[i] if licences else None
            sources.append(SourceConfig(kind="word_pairs", uri=str(path), licence=licence))
        (tmp_path / "derivations.tsv").write_text(DERIVATIONS)
        morphology = (SourceConfig(kind="morphynet", uri=str(tmp_path / "derivations.tsv")),)
        store = ArtifactStore(str(tmp_path / root))
        lexicon = build_lexicon(store, LexiconConfig(sources=tuple(sources), morphology=morphology))
        return build_relations(store, RelationsConfig(**settings), lexicon)

    return call
