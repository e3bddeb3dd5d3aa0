import pytest

from dskd_core.artifacts import ArtifactStore
from dskd_core.config import LexiconConfig, SourceConfig
from dskd_core.errors import ConfigError, DataError
from dskd_core.lexicon import build_lexicon


def config_of(path, kind="antonym_pairs"):
    return LexiconConfig(sources=(SourceConfig(kind=kind, uri=str(path)),), morphology=())


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_text("wet dry\nhot cold\nwet dry\nhot\n")
    return path


def test_rows_are_distinct_and_sorted_and_the_record_says_what_was_left_out(tmp_path, pairs):
    told = []
    artifact = build_lexicon(
        ArtifactStore(str(tmp_path / "root")),
        config_of(pairs),
        progress=lambda done, total, unit: told.append((done, total, unit)),
    )
    table = artifact.table("pairs.parquet").to_pylist()
    assert [(r["word_a"], r["word_b"]) for r in table] == [("hot", "cold"), ("wet", "dry")]
    assert artifact.record.counts == {"n_pairs": 2, "n_derivations": 0}
    report = artifact.record.report["pairs"][0]
    assert report["n_rows"] == 3
    assert report["first_lines"] == {"wrong_columns": [4]}
    assert sorted(artifact.record.files) == ["derivations.parquet", "pairs.parquet"]
    assert told[-1] == (29, 29, "bytes")


def test_two_builds_have_equal_bytes_and_a_second_call_finds_the_first(tmp_path, pairs):
    first = build_lexicon(ArtifactStore(str(tmp_path / "a")), config_of(pairs))
    other = build_lexicon(ArtifactStore(str(tmp_path / "b")), config_of(pairs))
    again = build_lexicon(ArtifactStore(str(tmp_path / "a")), config_of(pairs))
    assert first.record.content == other.record.content
    assert again.record.created_at == first.record.created_at


def test_an_unknown_kind_is_refused_with_the_kinds_there_are(tmp_path, pairs):
    with pytest.raises(ConfigError, match="'rogett'; name one of antonym_pairs, moby, roget"):
        build_lexicon(ArtifactStore(str(tmp_path / "root")), config_of(pairs, "rogett"))


def test_a_missing_and_an_empty_file_are_refused(tmp_path):
    store = ArtifactStore(str(tmp_path / "root"))
    with pytest.raises(ConfigError, match="is not a file"):
        build_lexicon(store, config_of(tmp_path / "none.txt"))
    (tmp_path / "empty.txt").touch()
    with pytest.raises(DataError, match="is empty"):
        build_lexicon(store, config_of(tmp_path / "empty.txt"))


def test_a_refused_source_leaves_nothing_behind(tmp_path):
    bad = tmp_path / "bad.txt"
    bad.write_text("no head here\n")
    with pytest.raises(DataError):
        build_lexicon(ArtifactStore(str(tmp_path / "root")), config_of(bad, "roget"))
    assert not list((tmp_path / "root").rglob("*.parquet"))


def test_a_file_without_one_usable_row_is_refused_with_what_was_left_out(tmp_path):
    bad = tmp_path / "bad.txt"
    bad.write_text("one two three four\n")
    with pytest.raises(DataError, match=r"no usable row .*'wrong_columns': 1"):
        build_lexicon(ArtifactStore(str(tmp_path / "root")), config_of(bad))
