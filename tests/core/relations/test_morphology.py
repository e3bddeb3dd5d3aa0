import pytest

from dskd_core.lexicon.rows import DerivationRow
from dskd_core.relations.affix_matching import find_negations
from dskd_core.relations.morphology import NEGATIVE_NOUNS, UNNEGATED_STEMS, UNOPPOSED_PAIRS


def prefix(affix, base, pos="adj", sense="", word=""):
    return DerivationRow(word or affix + base, base, affix, "prefix", sense, pos, "test", "free")


def suffix(word, base, affix, pos="adj"):
    return DerivationRow(word, base, affix, "suffix", "", pos, "test", "free")


def flips(*rows):
    return {(n.word, n.base, n.tier) for n in find_negations(rows)}


@pytest.mark.parametrize(
    ("affix", "base", "tier"),
    [
        ("un", "kind", "sure"),
        ("non", "linear", "sure"),
        ("in", "correct", "sure"),
        ("im", "possible", "sure"),
        ("il", "legal", "sure"),
        ("ir", "regular", "sure"),
        ("dis", "honest", "likely"),
        ("a", "symmetric", "likely"),
        ("an", "aerobic", "likely"),
    ],
)
def test_negating_prefixes_have_their_tier(affix, base, tier):
    assert flips(prefix(affix, base)) == {(affix + base, base, tier)}


@pytest.mark.parametrize("affix", ["de", "anti", "counter", "mis", "re"])
def test_other_prefixes_never_flip(affix):
    assert flips(prefix(affix, "cline")) == set()


def test_the_surface_is_stripped_through_suffixes():
    rows = (
        prefix("un", "happy"),
        suffix("unhappily", "unhappy", "ly", "adv"),
        suffix("unhappiness", "unhappy", "ness", "noun"),
    )
    found = {(n.word, n.base, n.pos) for n in find_negations(rows)}
    assert ("unhappily", "happily", "adv") in found
    assert ("unhappiness", "happiness", "noun") in found


def test_the_locative_in_never_flips_and_the_stated_negative_one_always_does():
    assert flips(prefix("in", "born", sense="locative")) == set()
    assert flips(prefix("in", "born")) == set()  # no Latinate ending, and nobody says negative
    assert flips(prefix("in", "apt", sense="negative")) == {("inapt", "apt", "sure")}
    assert flips(prefix("in", "habit", pos="verb")) == set()


def test_a_negates_only_learned_adjectives():
    assert flips(prefix("a", "live")) == set()
    assert flips(prefix("a", "sleep", pos="adv")) == set()
    assert flips(prefix("a", "estival")) == set()  # before a vowel it would be an-


def test_less_opposes_having_likely_and_the_bare_noun_loosely():
    rows = (
        suffix("careless", "care", "less"),
        suffix("careful", "care", "ful"),
        suffix("carer", "care", "er", "noun"),
        suffix("carelessly", "careless", "ly", "adv"),
        suffix("carefully", "careful", "ly", "adv"),
        suffix("carelessness", "careless", "ness", "noun"),
    )
    assert flips(*rows) == {
        ("careless", "careful", "likely"),
        ("careless", "care", "loose"),
        ("carelessly", "carefully", "likely"),
        ("carelessness", "care", "loose"),
    }


def test_less_of_another_word_is_not_believed():
    assert flips(suffix("hopeless", "home", "less"), suffix("homey", "home", "y")) == set()
    assert flips(suffix("penniless", "penny", "less")) == {("penniless", "penny", "loose")}


def test_shameless_is_not_the_opposite_of_shameful():
    rows = (suffix("shameless", "shame", "less"), suffix("shameful", "shame", "ful"))
    assert flips(*rows) == {("shameless", "shame", "loose")}


def test_the_file_of_exceptions_is_read_whole_by_kind():
    sizes = [len(words) for words in (UNNEGATED_STEMS, UNOPPOSED_PAIRS, NEGATIVE_NOUNS)]
    assert sizes == [174, 87, 33]
    assert {"inflam", "disgust", "untoward"} < set(UNNEGATED_STEMS)
    assert {("listless", "list"), ("listless", "listed"), ("until", "til")} < UNOPPOSED_PAIRS
    assert {"injustice", "irresolution"} < NEGATIVE_NOUNS
    assert not any("#" in word or not word for word in UNNEGATED_STEMS)
