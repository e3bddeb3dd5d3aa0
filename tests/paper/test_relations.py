"""What the paper says of relations, morphology and spelling, on real sources."""

from pathlib import Path

import pytest

from dskd_core.config import LexiconConfig, RelationsConfig, SourceConfig, WordsConfig
from dskd_core.decoder.tokenizer import load_tokenizer
from dskd_core.errors import ConfigError
from dskd_core.lexicon import build_lexicon
from dskd_core.lexicon.rows import DerivationRow
from dskd_core.lexicon.store import LEXICON_PAIRS
from dskd_core.relations import PAIRS, build_relations
from dskd_core.relations.affix_matching import find_negations
from dskd_core.samples import resolve
from dskd_core.store.artifacts import Artifact, ArtifactStore, Work
from dskd_core.words import HEADWORDS, NEIGHBOURS, SPELLINGS, build_words

TABLE_1 = """quit,discontinue,synonym
accurate,faultless,synonym
variable,unchangeable,antonym
unkind,friendly,antonym
disinterest,zeal,antonym
"""
WRONG_FLIPS = [
    ("flammable", "inflammable"),
    ("loose", "unloose"),
    ("ravel", "unravel"),
    ("pound", "impound"),
    ("colour", "discolour"),
    ("live", "alive"),
    ("side", "inside"),
    ("put", "input"),
    ("miss", "dismiss"),
    ("quit", "acquit"),
    ("custom", "accustom"),
    ("count", "discount"),
    ("habitable", "inhabitable"),
]
AFFIXES = ("un", "non", "in", "im", "il", "ir", "dis", "a", "an", "ac")


@pytest.fixture(scope="module")
def relations(tmp_path_factory) -> Artifact:
    """Relations of the five pairs of Table 1 and of the wrong flips, with the real morphology."""
    try:
        resolve("sample:morphynet")
    except ConfigError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("relations")
    others = "".join(f"{negated},other,synonym\n" for _, negated in WRONG_FLIPS)
    (folder / "pairs.csv").write_text("word_a,word_b,relation\n" + TABLE_1 + others)
    store = ArtifactStore(str(folder / "root"))
    sources = (SourceConfig(kind="word_pairs", uri=str(folder / "pairs.csv")),)
    return build_relations(
        store, RelationsConfig(), build_lexicon(store, LexiconConfig(sources=sources))
    )


@pytest.fixture(scope="module")
def pairs(relations) -> dict[tuple[str, str], dict]:
    return {(r["word_a"], r["word_b"]): r for r in relations.table(PAIRS).to_pylist()}


@pytest.mark.parametrize(
    ("word_a", "word_b", "relation", "tier", "parent"),
    [
        ("continue", "quit", "antonym", "likely", "discontinue|quit"),
        ("accurate", "fault", "antonym", "loose", "accurate|faultless"),
        ("changeable", "variable", "synonym", "sure", "unchangeable|variable"),
        ("friendly", "kind", "synonym", "sure", "friendly|unkind"),
        ("interest", "zeal", "synonym", "likely", "disinterest|zeal"),
    ],
)
def test_every_row_of_table_1_comes_out(pairs, word_a, word_b, relation, tier, parent):
    row = pairs[word_a, word_b]
    assert (row["relation"], row["tier"], row["parent"]) == (relation, tier, parent)


@pytest.mark.parametrize("line", TABLE_1.split())
def test_the_original_pair_is_kept_beside_the_new_one(pairs, line):
    *words, relation = line.split(",")
    row = pairs[tuple(sorted(words))]
    assert (row["relation"], row["tier"]) == (relation, "source")


@pytest.mark.parametrize(("base", "negated"), WRONG_FLIPS)
def test_wrong_flips_do_not_happen(pairs, base, negated):
    assert tuple(sorted((base, "other"))) not in pairs
    assert tuple(sorted((negated, "other"))) in pairs


@pytest.mark.parametrize(("base", "negated"), WRONG_FLIPS)
def test_wrong_flips_do_not_happen_even_if_a_morphology_says_so(base, negated):
    affix = negated.removesuffix(base)
    for pos in ("adj", "noun", "verb", "adv", ""):
        row = DerivationRow(negated, base, affix, "prefix", "", pos, "test", "free")
        assert affix in AFFIXES
        assert find_negations([row]) == []


@pytest.mark.parametrize(
    ("word", "base"),
    [
        ("undated", "dated"),
        ("unequal", "equal"),
        ("undeniable", "deniable"),
        ("unhappily", "happily"),
        ("insane", "sane"),
        ("illegal", "legal"),
    ],
)
def test_the_surface_affix_is_stripped(negations, word, base):
    assert base in {n.base for n in negations if n.word == word}


@pytest.fixture(scope="module")
def negations(relations) -> list:
    root = relations.uri.rsplit("/relations/", 1)[0]
    (lexicon,) = ArtifactStore(root).of_stage("lexicon")
    return find_negations(
        DerivationRow(**row) for row in lexicon.table("derivations.parquet").to_pylist()
    )


def test_less_opposes_ful_ed_and_y_forms_before_the_bare_noun(negations):
    tiers = {(n.word, n.base): n.tier for n in negations}
    assert tiers["careless", "careful"] == "likely"
    assert tiers["flawless", "flawed"] == "likely"
    assert tiers["cloudless", "cloudy"] == "likely"
    assert tiers["cloudless", "cloud"] == "loose"


def test_locative_in_de_anti_counter_mis_and_free_never_flip(negations):
    assert {n.affix for n in negations} <= {
        *("un-", "non-", "in-", "im-", "il-", "ir-", "dis-", "a-", "an-", "-less"),
    }
    bases = {
        n.base for n in negations if n.word in ("inside", "input", "inborn", "indoor", "inland")
    }
    assert bases == set()


@pytest.fixture(scope="module")
def roget(tmp_path_factory) -> tuple[ArtifactStore, Artifact]:
    """The pairs of the real Roget."""
    try:
        resolve("sample:roget")
    except ConfigError as error:
        pytest.skip(str(error))
    store = ArtifactStore(str(tmp_path_factory.mktemp("roget")))
    return store, build_lexicon(store, LexiconConfig(morphology=()))


def test_roget_synonyms_share_a_semicolon_group_not_a_category(roget):
    rows = roget[1].table(LEXICON_PAIRS).to_pylist()
    pairs = {(r["word_a"], r["word_b"]) for r in rows}
    assert ("luster", "sheen") in pairs
    assert ("spark", "scintilla") in pairs
    assert ("light", "optics") not in pairs  # both under 420 Light
    assert {r["relation"] for r in rows} == {"synonym"}
    assert 100_000 < len(rows) < 200_000  # same category alone would give millions


@pytest.fixture(scope="module")
def spelled(roget) -> tuple[Artifact, dict[int, dict]]:
    """Roget's words spelled with SmolLM2's tokenizer."""
    try:
        gguf = Path(resolve("sample:smollm2-135m"))
    except ConfigError as error:
        pytest.skip(str(error))
    from transformers import AutoTokenizer

    store, lexicon = roget
    work = Work("teacher", {}, {})
    with store.publish(work) as draft:
        hf = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
        hf.save_pretrained(str(draft.folder))
    teacher = store.open(store.uri(work))
    relations = build_relations(store, RelationsConfig(), lexicon)
    artifact = build_words(store, WordsConfig(), relations, teacher)
    return artifact, {row["word_id"]: row for row in artifact.table(SPELLINGS).to_pylist()}


def test_a_headword_is_one_token_after_a_space_and_longer_than_two_letters(spelled):
    artifact, words = spelled
    headwords = {row["headword"] for row in artifact.table(NEIGHBOURS).to_pylist()}
    assert {words[headword]["n_tokens"] for headword in headwords} == {1}
    assert min(len(words[headword]["word"]) for headword in headwords) == 3


def test_a_neighbour_has_at_most_three_tokens(spelled):
    artifact, words = spelled
    spans = {words[r["neighbour"]]["n_tokens"] for r in artifact.table(NEIGHBOURS).to_pylist()}
    assert spans == {1, 2, 3}


def test_bank_with_and_without_space_and_capital_are_tokens_of_one_word(spelled):
    artifact, words = spelled
    (teacher,) = ArtifactStore(artifact.uri.rsplit("/words/", 1)[0]).of_stage("teacher")
    tokenizer = load_tokenizer(teacher.folder())
    headwords = artifact.table(HEADWORDS).to_pylist()
    texts = {
        tokenizer.decode([r["token_id"]])
        for r in headwords
        if words[r["word_id"]]["word"] == "bank"
    }
    assert {"bank", " bank", " Bank"} <= texts


def test_three_tokens_keep_over_90_percent_of_the_pairs_with_a_headword(spelled):
    shares = [row["share_of_pairs_with_a_headword"] for row in spelled[0].record.report["coverage"]]
    assert shares == sorted(shares)
    assert shares[2] > 0.9
