import gzip

import pytest

from dskd_core.config import LexiconConfig, SourceConfig
from dskd_core.errors import ConfigError, DataError
from dskd_core.lexicon import build_lexicon
from dskd_core.lexicon import store as lexicon_store
from dskd_core.store.artifacts import ArtifactStore


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
    table = artifact.table("lexicon_pairs.parquet").to_pylist()
    assert [(r["word_a"], r["word_b"]) for r in table] == [("hot", "cold"), ("wet", "dry")]
    assert artifact.record.counts == {"n_pairs": 2, "n_derivations": 0}
    report = artifact.record.report["pairs"][0]
    assert report["n_rows"] == 3
    assert report["first_lines"] == {"wrong_columns": [4]}
    assert sorted(artifact.record.files) == ["derivations.parquet", "lexicon_pairs.parquet"]
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
    with pytest.raises(DataError, match=r"no usable row .*1 wrong_columns; see line 1\)"):
        build_lexicon(ArtifactStore(str(tmp_path / "root")), config_of(bad))


ENTRY = (
    '{"word": "happy%d", "lang_code": "en", "pos": "adj", "synonyms": [{"word": "glad"}, {"word": '
    '"merry%d"}]}\n'
)


def wiktextract_file(folder, n_entries=300):
    path = folder / "entries.jsonl"
    bad = '{"word": "broken"\n'
    path.write_text("".join(bad if i % 50 == 7 else ENTRY % (i, i) for i in range(n_entries)))
    return path


def in_shards(path, shard_bytes):
    source = SourceConfig(kind="wiktextract", uri=str(path))
    return LexiconConfig(sources=(source,), morphology=(), shard_bytes=shard_bytes)


def test_bytes_and_report_do_not_depend_on_the_number_of_shards(tmp_path):
    path = wiktextract_file(tmp_path)
    made = {}
    for shard_bytes in (1 << 20, 5000, 1024):
        store = ArtifactStore(str(tmp_path / str(shard_bytes)))
        artifact = build_lexicon(store, in_shards(path, shard_bytes))
        made[len(store.of_stage("lexicon-shard"))] = artifact
    assert 1 in made
    assert max(made) > 20
    whole = made[1].record
    assert whole.counts["n_pairs"] == 2 * (300 - 6)
    assert whole.report["pairs"][0]["first_lines"] == {"broken_json": [8, 58, 108, 158, 208, 258]}
    for artifact in made.values():
        assert artifact.fingerprint == whole.fingerprint
        assert artifact.record.content == whole.content
        assert artifact.record.report == whole.report


def test_a_build_killed_in_the_middle_reads_only_the_shards_it_lacks(tmp_path, monkeypatch):
    path = wiktextract_file(tmp_path)
    store, config = ArtifactStore(str(tmp_path / "root")), in_shards(path, 5000)
    undisturbed = build_lexicon(ArtifactStore(str(tmp_path / "other")), config)
    written, write_rows = [], lexicon_store.write_rows

    def dies_at_the_third(path, rows, schema):
        written.append(path)
        if len(written) == 3:
            raise KeyboardInterrupt
        return write_rows(path, rows, schema)

    monkeypatch.setattr(lexicon_store, "write_rows", dies_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        build_lexicon(store, config)
    assert len(store.of_stage("lexicon-shard")) == 2
    assert not store.of_stage("lexicon")
    resumed = build_lexicon(store, config)
    n_shards = len(store.of_stage("lexicon-shard"))
    assert len(written) == n_shards + 1  # the third was begun twice, the others once
    assert resumed.record.content == undisturbed.record.content


def test_another_list_of_sources_finds_the_files_it_shares_with_the_first(tmp_path, pairs):
    store = ArtifactStore(str(tmp_path / "root"))
    build_lexicon(store, config_of(pairs))
    more = tmp_path / "more.txt"
    more.write_text("up down\n")
    sources = [SourceConfig(kind="antonym_pairs", uri=str(path)) for path in (more, pairs)]
    both = build_lexicon(store, LexiconConfig(sources=tuple(sources), morphology=()))
    assert both.record.counts["n_pairs"] == 3
    assert len(store.of_stage("lexicon-shard")) == 2


def test_a_file_without_the_wanted_language_is_refused_with_what_it_has(tmp_path):
    path = tmp_path / "fr.jsonl"
    path.write_text('{"word": "chat", "lang_code": "fr", "synonyms": [{"word": "minou"}]}\n' * 3)
    with pytest.raises(DataError, match=r"no usable row .*left out: 3 other_language"):
        build_lexicon(ArtifactStore(str(tmp_path / "root")), in_shards(path, 1 << 20))


def test_a_truncated_gzip_file_leaves_neither_shard_nor_lexicon(tmp_path):
    whole = gzip.compress(wiktextract_file(tmp_path).read_bytes())
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(whole[: len(whole) // 2])
    store = ArtifactStore(str(tmp_path / "root"))
    with pytest.raises(DataError, match=r"cut\.jsonl\.gz is damaged after line"):
        build_lexicon(store, in_shards(cut, 1024))
    assert not [f for f in (tmp_path / "root").rglob("*") if f.is_file()]


def test_a_root_named_like_a_pattern_reads_none_of_its_siblings(tmp_path, pairs):
    """DuckDB takes a path with ``*``, ``?`` or ``[`` for a pattern."""
    plain = build_lexicon(ArtifactStore(str(tmp_path / "rootab")), config_of(pairs))
    pairs.write_text("left right\n")
    for name in ("root[a]?", "root*"):
        found = build_lexicon(ArtifactStore(str(tmp_path / name)), config_of(pairs))
        rows = found.table("lexicon_pairs.parquet").to_pylist()
        assert [(r["word_a"], r["word_b"]) for r in rows] == [("left", "right")], name
    assert plain.record.counts["n_pairs"] == 2
