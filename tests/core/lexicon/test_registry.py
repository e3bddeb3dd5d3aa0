import sys

import pytest

from dskd_core.lexicon import readers, registry
from dskd_core.lexicon.rows import SCHEMAS

MODULE = """
from dskd_core.lexicon.registry import reader
from dskd_core.lexicon.rows import PairRow

@reader("my_list", PairRow, licence="CC0-1.0", by_line=True)
def read_pairs(source):
    yield from ()
"""


@pytest.fixture
def one_more_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "__path__", [*readers.__path__, str(tmp_path)])
    registry.readers.cache_clear()
    yield tmp_path
    registry._READERS.pop("my_list", None)
    sys.modules.pop("dskd_core.lexicon.readers.my_list", None)
    registry.readers.cache_clear()


def test_a_source_is_known_by_being_one_module_of_the_package(one_more_folder):
    (one_more_folder / "my_list.py").write_text(MODULE)
    found = registry.readers()["my_list"]
    assert (found.licence, found.by_line, found.files) == ("CC0-1.0", True, ())


def test_every_kind_has_a_licence_and_rows_of_one_of_the_two_types():
    known = registry.readers()
    assert {"roget", "wiktextract", "wordnet", "moby", "word_pairs", "morpholex"} <= set(known)
    assert all(r.licence and r.row in SCHEMAS for r in known.values())
