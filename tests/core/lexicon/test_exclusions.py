"""What people struck out of the lexicon is in no pair that comes of it."""

import pytest

from dskd_core.config import LexiconConfig, RelationsConfig
from dskd_core.errors import DataError
from dskd_core.lexicon.exclusions import read_exclusions
from dskd_core.lexicon.store import build_lexicon
from dskd_core.relations import PAIRS
from dskd_core.relations.tables import build_relations
from dskd_core.store.artifacts import ArtifactStore

PAIR_LINES = """word_a,word_b,relation
Accurate,faultless,synonym
unkind,friendly,antonym
hot,cold,antonym
hot,warm,synonym
Paris,town,synonym
"""
DERIVATIONS = "fault\tfaultless\tN\tJ\tless\tsuffix\nkind\tunkind\tJ\tJ\tun\tprefix\n"


@pytest.fixture
def build(tmp_path):
    (tmp_path / "pairs.csv").write_text(PAIR_LINES)
    (tmp_path / "derivations.tsv").write_text(DERIVATIONS)
    store = ArtifactStore(str(tmp_path / "root"))

    def build(excluded: str | None):
        config = LexiconConfig.model_validate(
            {
                "sources": [{"kind": "word_pairs", "uri": str(tmp_path / "pairs.csv")}],
                "morphology": [{"kind": "morphynet", "uri": str(tmp_path / "derivations.tsv")}],
            }
        )
        if excluded is not None:
            (tmp_path / "exclude.tsv").write_text(excluded)
            config = config.model_copy(update={"exclude_uri": str(tmp_path / "exclude.tsv")})
        lexicon = build_lexicon(store, config)
        relations = build_relations(store, RelationsConfig(), lexicon)
        pairs = relations.table(PAIRS).to_pylist()
        return lexicon, relations, {(p["word_a"], p["word_b"], p["relation"]) for p in pairs}

    return build


ALL = {
    ("Accurate", "faultless", "synonym"),
    ("Accurate", "fault", "antonym"),
    ("friendly", "unkind", "antonym"),
    ("friendly", "kind", "synonym"),
    ("cold", "hot", "antonym"),
    ("hot", "warm", "synonym"),
    ("Paris", "town", "synonym"),
}


def test_without_a_list_every_pair_is_there(build):
    assert build(None)[2] == ALL


@pytest.mark.parametrize(
    ("line", "gone"),
    [
        ("HOT\tcold\tantonym", {("cold", "hot", "antonym")}),
        ("cold,hot", {("cold", "hot", "antonym")}),
        ("hot\tcold\tsynonym", set()),
        ("paris", {("Paris", "town", "synonym")}),
        ("friendly\tkind\tsynonym", {("friendly", "kind", "synonym")}),
        (
            "accurate\tfaultless",
            {("Accurate", "faultless", "synonym"), ("Accurate", "fault", "antonym")},
        ),
        ("fault", {("Accurate", "fault", "antonym")}),
    ],
)
def test_a_line_takes_its_pairs_away_and_what_negation_made_of_them(build, line, gone):
    _, _, left = build(f"word_a\tword_b\trelation\n{line}\n")
    assert left == ALL - gone


def test_what_was_left_out_is_counted(build):
    lexicon, relations, _ = build("hot\nfriendly\tkind\n")
    assert lexicon.record.report["excluded"] == {"lines": 2, "pairs": 2}
    assert relations.record.report["counts"]["excluded_by_list"] == 1


def test_a_list_makes_another_lexicon_of_the_same_shards(build):
    before, *_ = build(None)
    after, *_ = build("hot\n")
    assert before.fingerprint != after.fingerprint
    store = ArtifactStore(before.uri.rsplit("/", 2)[0])
    assert len(store.of_stage("lexicon-shard")) == 2


@pytest.mark.parametrize(
    "line", ["a\tb\tmaybe", "a\tb\tsynonym\tmore", "<b>\tbank", "\tbank\tsynonym\tx"]
)
def test_a_line_that_is_no_pair_is_refused_with_its_number(tmp_path, line):
    (tmp_path / "exclude.tsv").write_text(f"hot\n{line}\n")
    with pytest.raises(DataError, match="line 2"):
        read_exclusions(tmp_path / "exclude.tsv")


def test_lists_put_behind_one_another_are_one_list(tmp_path):
    one = "word_a\tword_b\trelation\nhot\tcold\tantonym\n"
    (tmp_path / "exclude.tsv").write_text(one + one.replace("cold", "warm"))
    rows = read_exclusions(tmp_path / "exclude.tsv").to_pylist()
    assert [row["word_b"] for row in rows] == ["cold", "warm"]
