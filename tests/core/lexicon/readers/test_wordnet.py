import bz2

import pytest

from dskd_core.config import LexiconConfig, SourceConfig
from dskd_core.errors import ConfigError
from dskd_core.lexicon import build_lexicon
from dskd_core.store.artifacts import ArtifactStore

ADJ = b"""  1 This software and database is being provided to you, the LICENSEE, by
00000010 00 a 02 happy 0 glad(p) 1 002 ! 00000020 a 0201 & 00000030 a 0000 | well; "so glad"
00000020 00 a 01 sad(a) 0 001 ! 00000010 a 0102 | ill
00000030 00 s 01 gay 0 001 ! 00000099 a 0101 | merry
00000040 00 s
00000050 00 s 01 caf\xe9 0 000 | x
"""
VERB = b"00000010 29 v 02 get_up 0 rise 1 001 @ 00000020 v 0000 02 + 02 00 + 22 00 | leave bed\n"


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "dict"
    place.mkdir()
    for name, content in (("adj", ADJ), ("verb", VERB), ("noun", b""), ("adv", b"")):
        (place / f"data.{name}").write_bytes(content)
    return place


def test_lemmas_of_a_synset_are_synonyms_and_lemma_pointers_are_direct_antonyms(read_file, folder):
    rows, _ = read_file("wordnet", folder)
    found = [(r.word_a, r.word_b, r.relation, r.pos, r.sense) for r in rows]
    assert found == [
        ("happy", "glad", "synonym", "adj", "well"),
        ("glad", "sad", "antonym", "adj", "well"),
        ("sad", "glad", "antonym", "adj", "ill"),
        ("get up", "rise", "synonym", "verb", "leave bed"),
    ]
    assert {r.licence for r in rows} == {"WordNet 3.0"}


def test_files_that_are_packed_under_their_names_are_read(read_file, folder):
    plain, _ = read_file("wordnet", folder)
    (folder / "data.adj").write_bytes(bz2.compress(ADJ))
    assert read_file("wordnet", folder)[0] == plain


def test_damaged_lines_are_counted_by_file(read_file, folder):
    _, report = read_file("wordnet", folder)
    assert report.counts["no_such_synset"] == 1
    assert report.lines == {"wrong_shape:data.adj": [5], "not_utf8:data.adj": [6]}


def test_a_folder_that_lacks_files_is_refused_with_their_names(tmp_path, folder):
    (folder / "data.adv").unlink()
    (folder / "data.noun").unlink()
    config = LexiconConfig(sources=(SourceConfig(kind="wordnet", uri=str(folder)),), morphology=())
    with pytest.raises(ConfigError, match=r"lacks data\.adv, data\.noun; give the folder"):
        build_lexicon(ArtifactStore(str(tmp_path / "root")), config)
    (folder / "data.noun.gz").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"lacks data\.adv, data\.noun; unpack data\.noun\.gz\."):
        build_lexicon(ArtifactStore(str(tmp_path / "root")), config)


def test_a_folder_is_identified_by_the_content_of_its_files(tmp_path, folder):
    config = LexiconConfig(sources=(SourceConfig(kind="wordnet", uri=str(folder)),), morphology=())
    store, told = ArtifactStore(str(tmp_path / "root")), []
    first = build_lexicon(
        store, config, progress=lambda done, total, unit: told.append((done, total, unit))
    )
    assert told[-1] == (len(ADJ) + len(VERB), len(ADJ) + len(VERB), "bytes")
    (folder / "data.verb").write_bytes(VERB.replace(b"rise", b"wake"))
    second = build_lexicon(store, config)
    assert first.fingerprint != second.fingerprint
