import pytest

from dskd_core.lexicon.rows import DerivationRow
from dskd_core.relations.affix_matching import find_negations


def prefix(affix, base, pos="adj"):
    return DerivationRow(affix + base, base, affix, "prefix", "", pos, "test", "free")


def suffix(word, base, affix, pos="adv"):
    return DerivationRow(word, base, affix, "suffix", "", pos, "test", "free")


def flips(*rows, words=()):
    return {(n.word, n.base, n.tier) for n in find_negations(rows, words)}


IMPATIENT = (suffix("impatiently", "impatient", "ly"), suffix("patiently", "patient", "ly"))


def test_an_adjective_that_no_row_segments_is_found_with_its_adverb():
    assert flips(*IMPATIENT) == {
        ("impatient", "patient", "sure"),
        ("impatiently", "patiently", "sure"),
    }


def test_the_noun_follows_its_adjective():
    found = flips(*IMPATIENT, words=("impatience", "patience", "imprudence", "prudence"))
    assert ("impatience", "patience", "sure") in found
    assert not any(word == "imprudence" for word, *_ in found)


def test_a_word_made_by_a_suffix_from_one_with_the_same_beginning_is_not_negated():
    rows = (
        suffix("impressive", "impress", "ive", "adj"),
        suffix("impressively", "impressive", "ly"),
        suffix("pressively", "pressive", "ly"),
    )
    assert flips(*rows) == set()


def test_un_non_and_dis_are_found_among_the_words_of_the_pairs():
    words = ("unforgettable", "forgettable", "non-living", "living", "disclaim", "claim")
    assert flips(words=words) == {
        ("unforgettable", "forgettable", "sure"),
        ("non-living", "living", "sure"),
        ("disclaim", "claim", "likely"),
    }


def test_a_phrase_is_negated_by_its_first_word():
    words = ("unstable equilibrium", "stable equilibrium")
    assert flips(words=words) == {("unstable equilibrium", "stable equilibrium", "sure")}


@pytest.mark.parametrize(
    ("word", "base"),
    [
        ("intense", "tense"),
        ("important", "portant"),
        ("importable", "portable"),
        ("inpatient", "patient"),
        ("individual", "dividual"),
        ("illustrious", "lustrious"),
        ("discrete", "crete"),
        ("discursive", "cursive"),
        ("disparate", "parate"),
        ("dissonant", "sonant"),
        ("distributive", "tributive"),
        ("nondescript", "descript"),
        ("unearth", "earth"),
        ("union", "ion"),
        ("inner", "ner"),
        ("uncle", "cle"),
        ("distance", "tance"),
        ("irate", "rate"),
    ],
)
def test_beginnings_that_are_no_prefix_do_not_flip_even_if_the_rest_is_an_adjective(word, base):
    assert flips(suffix(word + "ly", word, "ly"), suffix(base + "ly", base, "ly")) == set()


def test_the_in_of_immoral_is_spelled_im():
    row = DerivationRow("immoral", "moral", "in", "prefix", "", "adj", "test", "free")
    assert flips(row) == {("immoral", "moral", "sure")}


def test_adjectives_that_a_source_calls_nouns_or_verbs_still_flip():
    rows = (
        prefix("in", "valid", pos="verb"),
        suffix("invalidly", "invalid", "ly"),
        suffix("validly", "valid", "ly"),
    )
    assert ("invalid", "valid", "sure") in flips(*rows)


def test_less_opposes_a_ful_form_that_no_row_segments_but_no_measure():
    rows = (suffix("useless", "use", "less", "adj"), suffix("bookless", "book", "less", "adj"))
    measure = suffix("bookful", "book", "ful", "noun")
    found = flips(*rows, measure, words=("useful",))
    assert ("useless", "useful", "likely") in found
    assert not any(base == "bookful" for _, base, _ in found)


def test_less_opposes_a_participle_known_as_an_adjective():
    rows = (suffix("limitless", "limit", "less", "adj"), suffix("ageless", "age", "less", "adj"))
    known = (suffix("limitedly", "limited", "ly"), suffix("agedly", "aged", "ly"))
    found = flips(*rows, *known)
    assert ("limitless", "limited", "likely") in found
    assert ("ageless", "aged", "likely") not in found  # aged is old, and ageless does not grow old


def test_a_word_known_only_from_rows_carries_their_licence():
    (found,) = find_negations((suffix("kindly", "kind", "ly"),), ("unkind",))
    assert (found.word, found.licences) == ("unkind", ("free",))
    (found,) = find_negations((), ("unfunny business", "funny business"))
    assert found.licences == ()
