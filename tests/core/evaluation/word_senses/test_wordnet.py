"""A WordNet folder written here line by line: what its example sentences become."""

from collections import Counter

import pytest

from dskd_core.config import TaggedSourceConfig
from dskd_core.errors import ConfigError
from dskd_core.evaluation.word_senses.files import content_fingerprint
from dskd_core.evaluation.word_senses.readers import read_items
from dskd_core.evaluation.word_senses.wordnet import forms_of

NOUN = """\
00000001 00 n 02 money_box 0 bank 0 000 | a box; "a full bank"; "two banks of tin"; "the bank's lid"
00000002 00 n 01 bank 0 000 | a slope; "down the bank"; "A bank of clay"; "sat on a bank"
00000003 00 n 01 bank 0 000 | a row; "in one bank"; "bank by bank"; "no such word"; "Down the bank!"
00000004 00 n 01 mouse 0 000 | a rodent; "two mice"; "a mouse ran"; "the mouse-trap"
00000005 00 n 02 mouse 0 pointer 0 000 | a device; "move the mouse"; "a wireless mouse"
"""
VERB = """\
00000006 00 v 01 bank 0 000 02 + 02 00 + 22 00 | rely; "he banked on it"; "we are banking on her"
00000007 00 v
"""


@pytest.fixture
def folder(tmp_path):
    for name, text in (("noun", NOUN), ("verb", VERB), ("adj", ""), ("adv", "")):
        (tmp_path / f"data.{name}").write_text(text)
    (tmp_path / "noun.exc").write_text("mice mouse\n")
    return tmp_path


def read(folder, kind="wordnet_examples", **settings):
    return read_items(TaggedSourceConfig(kind=kind, uri=str(folder), **settings))


def places(item):
    return [(c.text, c.text[c.start : c.stop]) for c in item.contexts]


def test_a_sentence_shows_the_first_plain_lemma_of_its_synset_as_it_is_or_inflected(folder):
    items, dirt = read(folder)
    found = {place for item in items for place in places(item)}
    assert found == {
        ("a full bank", "bank"),
        ("two banks of tin", "banks"),
        ("the bank's lid", "bank"),
        ("down the bank", "bank"),
        ("A bank of clay", "bank"),
        ("sat on a bank", "bank"),
        ("he banked on it", "banked"),
        ("we are banking on her", "banking"),
        ("two mice", "mice"),
        ("a mouse ran", "mouse"),
        ("move the mouse", "mouse"),
        ("a wireless mouse", "mouse"),
    }
    assert {item.gold for item in items if item.word == "bank"} == {
        "money_box.noun.00000001",
        "bank.noun.00000002",
        "bank.verb.00000006",
    }
    assert dirt.counts == {
        "word_ambiguous": 1,  # bank by bank
        "word_not_found": 2,  # no such word; the mouse-trap
        "duplicate": 1,  # Down the bank!
        "too_few_sentences": 1,  # in one bank, all that is left of that synset
        "broken_line": 1,  # 00000007
    }


def test_every_sense_is_shown_before_it_is_asked_for_and_no_sentence_is_in_both_parts(folder):
    for share in (0.0, 0.5, 1.0):
        items, _ = read(folder, train_share=share)
        splits = {split: {i.gold for i in items if i.split == split} for split in ("train", "test")}
        assert splits["train"] == splits["test"]
        texts = Counter(item.contexts[0].text for item in items)
        assert max(texts.values()) == 1
    assert (
        sum(item.split == "train" for item in items) == 7
    )  # of 12, all but one of each of five senses


def test_pairs_are_as_often_of_one_synset_as_of_two_and_use_a_sentence_once(folder):
    items, dirt = read(folder, "wordnet_wic", train_share=0.0)
    # The noun bank has 3 + 3 + 1 sentences; mouse (2 + 2) has none left for a pair of two synsets.
    assert sorted((item.word, item.gold) for item in items) == [("bank", "F"), ("bank", "T")]
    texts = Counter(text for item in items for text, _ in places(item))
    assert max(texts.values()) == 1
    senses = {item.gold: {place.split(":")[1] for place in item.item.split(" ")} for item in items}
    assert len(senses["T"]) == 1
    assert len(senses["F"]) == 2
    assert dirt.counts["too_few_sentences"] == 3 + 4 + 2


def test_a_sample_is_of_whole_words(folder):
    items, _ = read(folder, max_items=3)  # bank has 4 or more in a split
    assert {item.word for item in items} == {"mouse"}
    assert {item.gold.split(".")[2] for item in items} == {"00000004", "00000005"}


def test_a_word_that_opens_its_sentence_has_no_state_before_it_and_is_left_out(folder):
    (folder / "data.adv").write_text('00000009 02 r 01 mouse 0 000 | x; "Mouse first"; "by mouse"')
    assert read(folder)[1].counts["opens_the_text"] == 1


def test_files_are_asked_for_by_name_and_content_names_a_source(folder):
    source = TaggedSourceConfig(kind="wordnet_examples", uri=str(folder))
    before = content_fingerprint(source)
    (folder / "noun.exc").write_text("meece mouse\n")
    assert content_fingerprint(source) != before
    (folder / "data.adv").unlink()
    with pytest.raises(ConfigError, match=r"lacks data\.adv"):
        read_items(source)


@pytest.mark.parametrize(
    ("lemma", "pos", "forms"),
    [
        ("city", "noun", {"cities"}),
        ("box", "noun", {"boxes"}),
        ("day", "noun", {"days"}),
        ("hope", "verb", {"hoped", "hoping", "hopes"}),
        ("hop", "verb", {"hopped", "hopping"}),
        ("carry", "verb", {"carried", "carries", "carrying"}),
        ("fix", "verb", {"fixed", "fixes"}),
        ("big", "adj", {"bigger", "biggest"}),
        ("happy", "adj", {"happier", "happiest"}),
    ],
)
def test_regular_forms(lemma, pos, forms):
    assert forms | {lemma} <= forms_of(lemma, pos)
    assert forms_of("bank", "noun") == {"bank", "banks", "bankes", "banies"}
