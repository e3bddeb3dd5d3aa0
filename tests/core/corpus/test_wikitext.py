import time

import pytest

from dskd_core.corpus.wikitext import MarkupError, plain_text, strip_by_pattern


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("'''Bank''' of [[river|the river]] and [[sea]]s", "Bank of the river and seas"),
        ("[[File:a.jpg|thumb|A [[dog]] and {{x}}]]Text", "Text"),
        ("Text [[Category:Dogs]][[fr:Chien]]", "Text"),
        ("See [[:Category:Dogs]].", "See Category:Dogs."),
        ("a<ref name=x>{{cite|a}} [[b]]</ref> b<ref name=x/> c", "a b c"),
        ("''open <ref>x</ref> never closed\n\n<blockquote>kept</blockquote>", None),
        ("{|\n|a||b\n|-\n|c\n|}\nText", "Text"),
        ("{| never\n| closed\nText", "Text"),
        ("<!-- hidden -->a&nbsp;b &ndash; c", "a b – c"),
        ("[http://x.org name] and [http://y.org]", "name and"),
        ("{{lang|fr|chien}} ran {{convert|5|km|mi}}", "chien ran 5 km"),
        ("Achilles ({{lang-grc|Ἀχ}}, {{IPA|x}}; {{y}}) ran", "Achilles (Ἀχ) ran"),
        ("Asia ({{IPAc-en|x}}) is", "Asia is"),
        ("* one\n** two\n: three", "one\ntwo\nthree"),
        ("a < b and <sub>2</sub> __NOTOC__", "a < b and 2"),
        ("e^<math>x</math> is <code>y</code>", "e^ is y"),
    ],
)
def test_markup_reads_as_its_prose(markup, text):
    stripped = plain_text(markup)
    if text is not None:
        assert stripped == text
    assert not any(mark in stripped for mark in ("{{", "[[", "thumb|", "<ref", "<block", "''"))


def test_headings_stay_as_lines_unless_nothing_is_below_them():
    markup = "= A =\n== B ==\n=== C ===\ntext\n== References ==\n{{reflist}}\n== End ==\n"
    assert plain_text(markup) == "A\nB\nC\ntext"


def test_brackets_that_never_close_are_refused_and_stripped_by_pattern():
    markup = "a [[b {{c | d '' e " * 2000
    started = time.monotonic()
    with pytest.raises(MarkupError, match="unbalanced"):
        plain_text(markup)
    assert "[[" not in strip_by_pattern(markup)
    assert time.monotonic() - started < 5


def test_two_million_characters_in_one_line_are_stripped_in_seconds():
    started = time.monotonic()
    assert len(plain_text("The '''bank''' of [[river|a river]]. " * 50_000)) > 1_000_000
    assert time.monotonic() - started < 60
