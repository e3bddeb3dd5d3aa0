import itertools

import pytest

from dskd_core.corpus.documents import STRIPPED
from dskd_core.corpus.wikitext import MAX_DEPTH, Namespaces, plain_text, strip

GERMAN = Namespaces().with_name("file", "Datei").with_name("category", "Kategorie")


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("'''Bank''' of [[river|the river]] and [[sea]]s", "Bank of the river and seas"),
        ("[[File:a.jpg|thumb|A [[dog]] and {{x}}]]Text", "Text"),
        ("Text [[Category:Dogs]][[fr:Chien]]", "Text"),
        ("See [[:Category:Dogs]].", "See Category:Dogs."),
        ("a<ref name=x>{{cite|a}} [[b]]</ref> b<ref name=x/> c", "a b c"),
        ("a<ref>b</ref name> c</ref> d", "a d"),
        (
            "''open <ref>x</ref> never closed\n\n<blockquote>kept</blockquote>",
            "open never closed\nkept",
        ),
        ('a<ref name="b>c">d</ref> <span title="e>f">g</span>', "a g"),
        ('a<ref name="b>He said "c"</ref> d', "a d"),
        ("a <ref>never closed\n\nb<ref>c</ref>", "a never closed\nb"),
        ("{|\n|a||b\n|-\n|c\n|}\nText", "Text"),
        ("{|\n|a\n{|\n|b\n|}\n|c\n|}\nText", "Text"),
        ("<table><tr><td>a</table>Text", "Text"),
        ("{| never\n| closed\nText", "Text"),
        ("{{Infobox\n| never = closed\n}\nText", "}\nText"),
        ("{{Infobox\n|a={{b|c}}\n|d=[[e|f]]\n}}Text", "Text"),
        ("[[File:a.jpg|thumb|never closed\nText", "Text"),
        ("<!-- hidden -->a&nbsp;b &ndash; c", "a b – c"),
        ("[http://x.org name] and [http://y.org]", "name and"),
        ("He said [sic] no; see http://x.org/a.", "He said [sic] no; see."),
        ("[http://x.org never closed\nText", "[http://x.org never closed\nText"),
        ("{{lang|fr|chien}} ran {{convert|5|km|mi}}", "chien ran 5 km"),
        ("from {{convert|5|to|9|km|mi}} away", "from 5 to 9 km away"),
        ("Achilles ({{lang-grc|Ἀχ}}, {{IPA|x}}; {{y}}) ran", "Achilles (Ἀχ) ran"),
        ("Asia ({{IPAc-en|x}}) is", "Asia is"),
        ("call f() and (, x)", "call f() and (, x)"),
        ("* one\n** two\n: three", "one\ntwo\nthree"),
        ("a < b and <sub>2</sub> __NOTOC__", "a < b and 2"),
        ("a <foo> b", "a <foo> b"),
        ("e^<math>x</math> is <code>y</code>", "e^ is y"),
        ("the dog''''s ''bone''", "the dog's bone"),
        ("{{{1|x}}}{{a|{{{b}}}}}Text", "Text"),
    ],
)
def test_markup_reads_as_its_prose(markup, text):
    assert plain_text(markup) == text


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("!!! is a band.\n! is a mark.", "!!! is a band.\n! is a mark."),
        ("For any number,\n|x| is its distance.", "For any number,\n|x| is its distance."),
        ("{|\n|a\n|}\n|x| is the distance.", "|x| is the distance."),
        ("{| never\n| closed\n== H ==\n|x| is the distance.", "H\n|x| is the distance."),
        ("&lt;br&gt; breaks, &lt;ref&gt; refers", "<br> breaks, <ref> refers"),
        ("&#91;&#91;a&#93;&#93; &#123;&#123;b&#125;&#125;", "[[a]] {{b}}"),
        ("&amp;lt; stands for &lt;", "&lt; stands for <"),
        ("R&D &copy 2020 &nosuch;", "R&D &copy 2020 &nosuch;"),
        ("<nowiki>[[a|b]] {{c}} ''d'' <ref></nowiki>", "[[a|b]] {{c}} ''d'' <ref>"),
        ("<pre>\n* a\n== b ==\n</pre>", "* a\n== b =="),
        ("2 {{=}} 2{{!}}", "2 = 2|"),
        ("a}} and b]] and [[c and {{d", "a and b and c and d"),
        ("def __init__(self)", "def __init__(self)"),
    ],
)
def test_what_only_looks_like_markup_stays(markup, text):
    assert plain_text(markup) == text


@pytest.mark.parametrize(
    "markup",
    [
        "[[Datei:Kai.jpg|mini|hochkant=1.2|links|Der alte [[Kai]] am Abend]]",
        "[[ datei : Kai.jpg |mini]]",
        "[[Bild:Kai.jpg|mini|Ein Kai]]",  # an alias, which exports do not list
        "[[Image:Kai.jpg|mini]][[File:Kai.jpg]]",
        "[[Kategorie:Hafen]][[kategorie:Schifffahrt|Hafen]][[Category:Hafen]]",
    ],
)
def test_links_to_files_and_categories_are_known_by_the_names_of_their_wiki(markup):
    assert plain_text(f"Am Hafen.\n{markup}", GERMAN) == "Am Hafen."


def test_headings_stay_as_lines_unless_nothing_is_below_them():
    markup = "= A =\n== B ==\n=== C ===\ntext\n== References ==\n{{reflist}}\n== End ==\n"
    assert plain_text(markup) == "A\nB\nC\ntext"


def test_what_is_dropped_is_counted_by_kind():
    page = (
        "a<ref>b</ref><ref name=c/>{{d|{{e}}}}\n{|\n|f\n|}\n[[File:g.png]]<gallery>h</gallery>"
        "[[Category:i]][[fr:j]][http://k l]<math>m</math><!--n--><source>o</source>"
        "<timeline>p</timeline> {{lang|fr|q}} [[r"
    )
    expected = {
        "reference": 2,
        "template": 2,
        "table": 1,
        "file": 2,
        "category": 1,
        "interwiki": 1,
        "address": 1,
        "formula": 1,
        "comment": 1,
        "code": 1,
        "extension": 1,
    }
    assert +strip(page).dropped == expected | {"unclosed": 1}
    assert expected.keys() == STRIPPED.keys()


def test_templates_nested_too_deep_are_dropped_unread_and_counted():
    def nested(depth):
        return strip("a " + "{{lang|fr|" * depth + "b" + "}}" * depth + " c")

    assert nested(MAX_DEPTH).text == "a b c"
    deep = nested(MAX_DEPTH + 3)
    assert (deep.text, deep.dropped["deep"], deep.dropped["template"]) == ("a c", 3, 3)


MARKS = [
    "{{",
    "}}",
    "[[",
    "]]",
    "{{{",
    "}}}",
    "{|",
    "\n{|",
    "\n|}",
    "\n|",
    "\n!",
    "|",
    "[[a|",
    "[[File:a|",
    "{{a|",
    "{{lang|fr|",
    "[http://a",
    "http://a",
    "]",
    "<ref",
    "<ref>",
    '<ref a="',
    '<div a="b>',
    "</ref>",
    "<ref/>",
    "<div",
    "<div>",
    "<nowiki>",
    "</nowiki>",
    "<!--",
    "-->",
    "<table>",
    "</table>",
    "<",
    "(",
    ")",
    "&",
    "&amp;",
    "''",
    "__",
    "\n=",
    ",",
    "\u200b",
    "{{convert|1|-|2|km}}",
]
ENDINGS = ("", "\n")
SHAPES = {
    "repeated": lambda a, _, n: a * n,
    "alternated": lambda a, b, n: (a + b) * n,
    "nested": lambda a, b, n: a * n + "x" + b * n,
    "after prose": lambda a, b, n: (a + " ") * n + "[[sea]] {{x|y}}.\n" * (n // 15) + (b + " ") * n,
}
PAIRS = [
    *itertools.pairwise([*MARKS, MARKS[0]]),
    *((mark, MARKS[(7 * i + 3) % len(MARKS)]) for i, mark in enumerate(MARKS)),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_twice_a_hostile_page_takes_at_most_twice_the_steps(shape):
    for (first, second), ending in itertools.product(PAIRS, ENDINGS):
        once, twice = (
            strip(SHAPES[shape](first + ending, second + ending, n)).n_steps for n in (30, 60)
        )
        assert twice <= 2 * once + 8, (first, second, ending)


@pytest.mark.parametrize("mark", MARKS)
def test_a_hostile_page_of_thousands_of_marks_ends(mark):
    """What is quadratic, in a pattern too, would take minutes here."""
    strip(mark * 6_000)
    strip(f"{mark} " * 6_000)
