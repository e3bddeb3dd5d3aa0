import contextlib
import random
import re

import pytest

from dskd_core.errors import DataError
from dskd_core.lexicon.readers.roget import _category_at
from tests.growth import LINEAR, growth

TEXT = """
***START OF THE PROJECT GUTENBERG EBOOK***
1. BEING, IN THE ABSTRACT

1. Existence -- N. existence, being, entity, ens [Lat.];
truth &amp;c 494; fact, matter of fact (sober).
     stubborn fact, hard fact; cross-
bow, bow; go &c (move) 264, run [Obs.].
V. exist, be; have being &c n.; live, breathe &c (be alive) 359 [Obs.].
Phr. ens rationis [Lat.]; ergo sum, cogito.

SECTION II. RELATION, ABSOLUTE

2. [Want of it.] Inexistence -- N. nothing, naught [Slang];
more sinned against than sinning [Lear], innocent, pure.
***END OF THE PROJECT GUTENBERG EBOOK***
license, agreement; free, gratis.
"""


def pairs_of(rows):
    return {(r.word_a, r.word_b): r for r in rows}


def test_words_of_one_semicolon_group_are_synonyms(read):
    rows, _ = read("roget", TEXT)
    pairs = pairs_of(rows)
    assert ("existence", "being") in pairs
    assert ("existence", "fact") not in pairs
    assert all(r.relation == "synonym" for r in rows)


def test_head_and_part_of_speech_are_kept(read):
    pairs = pairs_of(read("roget", TEXT)[0])
    assert (pairs["exist", "be"].pos, pairs["exist", "be"].sense) == ("verb", "1 Existence")
    assert pairs["nothing", "naught"].sense == "2 Inexistence"
    assert pairs["nothing", "naught"].tags == ("slang",)


def test_a_group_of_n_words_weighs_two_nth(read):
    pairs = pairs_of(read("roget", TEXT)[0])
    assert pairs["existence", "being"].weight == pytest.approx(2 / 3)  # ens [Lat.] is left out
    assert pairs["stubborn fact", "hard fact"].weight == 1


def test_cross_references_asides_and_line_breaks_are_no_words(read):
    rows, report = read("roget", TEXT)
    words = {w for r in rows for w in (r.word_a, r.word_b)}
    assert "matter of fact" in words
    assert "cross-bow" in words
    assert "truth" not in words  # alone in its group
    assert not any("&" in w or "494" in w for w in words)
    # go, run [Obs.] and live, breathe ... [Obs.] lose one word each, so neither is a pair
    assert report.counts["obsolete"] == 2


def test_phrases_quotations_titles_and_the_licence_are_left_out(read):
    rows, report = read("roget", TEXT)
    words = {w for r in rows for w in (r.word_a, r.word_b)}
    assert report.counts["phrase_paragraph"] == 1
    assert report.counts["quotation"] == 1
    assert {"innocent", "pure"} <= words
    assert words.isdisjoint({"license", "gratis", "ABSOLUTE", "ergo sum"})


def test_an_oversized_group_is_counted_and_left_out(read):
    rows, report = read("roget", "1. A -- N. a b, c d, e f; g h, i j.\n", max_group_words=2)
    assert [(r.word_a, r.word_b) for r in rows] == [("g h", "i j")]
    assert report.counts["oversized_group"] == 1


def test_a_text_without_categories_is_refused(read):
    with pytest.raises(DataError, match="has no category such as"):
        read("roget", "nothing of the kind\n")


def test_latin_1_lines_are_read_and_counted(read):
    rows, report = read("roget", "1. Food -- N. café, coffee house.\n".encode("latin-1"))
    assert rows[0].word_a == "café"
    assert report.lines["not_utf8"] == [1]


HOSTILE = {
    "spaces in a category": lambda n: "1. " + " " * n + "x",
    "dashes in a category": lambda n: "1. a" + " --" * n,
    "spaces after dashes": lambda n: "1. a" + "--" + " " * n + "x",
    "open references": lambda n: HEAD + "&c(" * n,
    "open notes of references": lambda n: HEAD + "&c [" * n,
    "spaces after a reference": lambda n: HEAD + "&c" + " " * n + "x",
    "open asides": lambda n: HEAD + "(" * n,
    "open notes": lambda n: HEAD + "[" * n,
    "a paragraph of many lines": lambda n: HEAD + "a\n" * n,
    "stacked accents": lambda n: HEAD + "a" + "\u0301\u0327" * n,
    "ampersands": lambda n: HEAD + "&" * n,
}
HEAD = "1. Being -- N. being, existence "


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_takes_time_in_proportion_to_its_length(read, text):
    def read_text(content):
        with contextlib.suppress(DataError):  # no category
            read("roget", content)

    assert growth(read_text, HOSTILE[text], 5_000) < LINEAR


def test_a_head_is_found_as_its_pattern_says():
    """The pattern this function replaces, which was cubic."""
    pattern = re.compile(
        r"^\s*#?(?P<number>\d+[a-z]?)\.\s*(?P<name>[^;]*?)\s*--\s*(?=(?:N|V|Adj|Adv|Phr|Int)\.)"
    )
    draw = random.Random(0)
    parts = ["1", "a", ".", " ", "--", "-", ";", "N.", "V.", "#", "Adj. ", "[x]", "\t"]
    n_categories = 0
    for _ in range(20_000):
        line = "".join(draw.choice(parts) for _ in range(draw.randint(1, 9)))
        line = draw.choice(["", "1. ", " #2b."]) + line
        found, category = pattern.match(line), _category_at(line)
        n_categories += found is not None
        assert (found and (found["number"], found["name"], found.end())) == category, line
    assert n_categories > 200


def test_an_entity_of_thousands_of_digits_is_counted_and_left_as_it_is(read):
    _, report = read("roget", f"{HEAD}\n&#{'9' * 5000};\n")
    assert (report.counts["broken_entity"], report.lines["broken_entity"]) == (1, [2])


def test_a_paragraph_of_megabytes_is_counted(read):
    rows, report = read(
        "roget", f"{HEAD}\n" + "word word\n" * 110_000 + "\n2. Life -- N. life, soul"
    )
    assert report.counts["long_paragraph"] == 1
    assert [(row.word_a, row.word_b) for row in rows] == [("life", "soul")]
