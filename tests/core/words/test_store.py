import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from dskd_core.config import WordsConfig
from dskd_core.store.artifacts import ArtifactStore, Work
from dskd_core.words import HEADWORDS, NEIGHBOURS, SPELLINGS, build_words

PAIRS = [
    # Both are one token; a headword and three tokens, or too many; no headword; too short.
    ("bank", "light", "synonym", 1.0, "source"),
    ("fault", "unkind bank", "synonym", 0.5, "source"),
    ("kind", "zzzzzz", "antonym", 1.0, "sure"),
    ("faultless", "unkind", "synonym", 1.0, "source"),
    ("is", "less", "antonym", 0.25, "loose"),
]


@pytest.fixture
def built(tmp_path, folder):
    store = ArtifactStore(str(tmp_path / "root"))
    return build_words(store, WordsConfig(), relations_of(store), teacher_of(store, folder))


def relations_of(store):
    work = Work("relations", {}, {})
    names = ("word_a", "word_b", "relation", "weight", "tier")
    with store.publish(work) as draft:
        draft.write_table(
            "pairs.parquet",
            pa.Table.from_pylist([dict(zip(names, pair, strict=True)) for pair in PAIRS]),
        )
    return store.find(work)


def teacher_of(store, folder: Path):
    work = Work("teacher", {"from": folder.parent.name}, {})
    with store.publish(work) as draft:
        for file in folder.iterdir():
            shutil.copy(file, draft.path(file.name))
    return store.find(work)


def test_words_are_dense_sorted_and_at_most_three_tokens(built):
    words = built.table(SPELLINGS).to_pylist()
    expected = [
        "bank",
        "fault",
        "faultless",
        "is",
        "kind",
        "less",
        "light",
        "unkind",
        "unkind bank",
    ]
    assert [w["word"] for w in words] == expected
    assert [w["word_id"] for w in words] == list(range(9))
    assert {w["word"]: w["n_tokens"] for w in words}["unkind bank"] == 3
    assert all(len(w["token_ids"]) == w["n_tokens"] for w in words)
    assert built.record.report["left_out"]["words_of_more_than_max_span_tokens"] == 1


def test_heads_are_single_token_words_of_three_letters(built):
    words = {w["word_id"]: w["word"] for w in built.table(SPELLINGS).to_pylist()}
    headwords = built.table(HEADWORDS).to_pylist()
    assert {words[h["word_id"]] for h in headwords} == {"bank", "fault", "kind", "less", "light"}
    assert len({h["token_id"] for h in headwords}) == len(headwords)


def test_neighbours_go_both_ways_where_both_are_heads(built):
    words = {w["word_id"]: w["word"] for w in built.table(SPELLINGS).to_pylist()}
    rows = built.table(NEIGHBOURS).to_pylist()
    found = [
        (words[r["headword"]], words[r["neighbour"]], r["relation"], r["weight"]) for r in rows
    ]
    assert found == [
        ("bank", "light", "synonym", 1.0),
        ("fault", "unkind bank", "synonym", 0.5),
        ("less", "is", "antonym", 0.25),
        ("light", "bank", "synonym", 1.0),
    ]


def test_coverage_counts_pairs_with_a_head_by_the_span_of_the_other(built):
    coverage = built.record.report["coverage"]
    # Headed: bank/light, fault/unkind bank, kind/zzzzzz, less/is.
    assert [(c["max_span"], c["n_pairs"]) for c in coverage] == [(1, 2), (2, 2), (3, 3), (4, 3)]
    assert {c["n_headed"] for c in coverage} == {4}
    assert coverage[2]["share_of_pairs_with_a_headword"] == 0.75
    # Of all five: bank/light and is/less have one token each, faultless/unkind at most two,
    # fault/unkind bank at most three; zzzzzz has more than four.
    assert [c["share_of_all_pairs"] for c in coverage] == [0.4, 0.6, 0.8, 0.8]


def test_columns_have_the_promised_types(built):
    assert built.table(SPELLINGS).schema.field("token_ids").type == pa.list_(pa.int32())
    for name, column in ((SPELLINGS, "word_id"), (HEADWORDS, "token_id"), (NEIGHBOURS, "headword")):
        assert built.table(name).schema.field(column).type == pa.int32()
