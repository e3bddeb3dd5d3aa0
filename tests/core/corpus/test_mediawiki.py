import io
import tracemalloc

import pytest

from dskd_core.corpus.documents import Reading, every
from dskd_core.corpus.mediawiki import MAX_FIELD_BYTES, PAGE_FIELDS, read_mediawiki
from dskd_core.errors import DataError

SITE = (
    "<siteinfo><sitename>W</sitename><namespaces>"
    '<namespace key="-2" case="first-letter">Média</namespace><namespace key="0" />'
    '<namespace key="6">Fichier</namespace><namespace key="14">Catégorie</namespace>'
    "</namespaces></siteinfo>"
)


class Repeated(io.TextIOBase):
    """A stream of ``head``, then ``body`` many times, then ``tail``; never held as a whole."""

    def __init__(self, head, body, n, tail):
        self.blocks = iter([head, *[body] * n, tail])

    def read(self, size=-1):
        return next(self.blocks, "")


def page(page_id, text, *, title="T", ns="0"):
    return (
        f"<page><title>{title}</title><ns>{ns}</ns><id>{page_id}</id>"
        f"<revision><id>9</id><text>{text}</text></revision></page>"
    )


def read(*pages, head="<mediawiki xmlns='http://www.mediawiki.org/xml/export-0.11/'>" + SITE):
    return read_stream(io.StringIO("".join([head, *pages, "</mediawiki>"])))


def read_stream(stream):
    reading = Reading()
    documents = list(read_mediawiki(stream, "w.xml", reading, every))
    return [(d.id, d.text) for d in documents], reading


def test_namespaces_are_those_the_export_lists():
    text = (
        "Le port.[[Fichier:Quai|vignette|redresse=1.2|Le [[quai]]]][[Média:a]][[Catégorie:Port]]"
        "[[File:Quai|thumb]][[Category:Port]] [[Portail:Port]]"
    )
    documents, reading = read(page(1, text))
    assert documents == [("1", "Le port. Portail:Port")]
    assert reading.report()["stripped"] == {"file": 3, "category": 2}


def test_names_of_namespaces_without_end_take_no_memory_without_end():
    many = '<namespace key="6">' + "N" * (1 << 16) + "</namespace>"
    documents, _ = read_stream(
        Repeated("<mediawiki>" + SITE, many, 100, page(1, "a[[Fichier:b]]") + "</mediawiki>")
    )
    assert documents == [("1", "a")]


def test_what_is_stripped_and_what_never_closes_is_in_the_report():
    _, reading = read(page(1, "a {{b}} [[c"), page(2, "d}}{{e}}"))
    report = reading.report()
    assert report["stripped"] == {"template": 2}
    assert report["repaired"] == {"unclosed_markup": 2}
    assert report["places"] == {"unclosed_markup": ["1 T", "2 T"]}
    assert report["meaning"].keys() == {"template", "unclosed_markup"}


def test_of_several_revisions_the_last_is_read():
    revisions = "<revision><text>old</text></revision><revision><text>new</text></revision>"
    history = f"<page><title>T</title><ns>0</ns><id>1</id>{revisions}</page>"
    assert read(history)[0] == [("1", "new")]


@pytest.mark.parametrize("ns", ["x", "1" * 4000, "-1", ""], ids=["x", "long", "-1", "none"])
def test_a_namespace_that_is_no_number_is_another_one(ns):
    documents, reading = read(page(1, "a", ns=ns))
    assert (documents == [("1", "a")]) == (ns == "")
    assert sum(reading.counts.values()) == (ns != "")


@pytest.fixture
def limit(monkeypatch):
    """A limit of a page's text that is small, so that tests are fast."""
    monkeypatch.setitem(PAGE_FIELDS, ("revision", "text"), 1 << 16)
    return 1 << 16


@pytest.mark.parametrize(
    ("character", "n_beyond", "n_title", "is_read"),
    [
        ("a", 0, 1, True),
        ("a", 1, 1, False),
        ("ä", 0, 1, False),
        ("a", 0, MAX_FIELD_BYTES, True),
        ("a", 0, MAX_FIELD_BYTES + 1, False),
    ],
)
def test_a_page_beyond_its_limit_is_left_out_and_counted(
    limit, character, n_beyond, n_title, is_read
):
    first = page(1, character * (limit + n_beyond), title="T" * n_title)
    documents, reading = read(first, page(2, "b"))
    assert [i for i, _ in documents] == (["1", "2"] if is_read else ["2"])
    assert reading.counts["oversized_page"] == (not is_read)


@pytest.mark.parametrize(
    "body",
    [
        "a" * (1 << 16),
        "<!---->a" * (1 << 13),
        "<b>" * 10 + "a" * (1 << 16) + "</b>" * 10,
        "<b/>" * (1 << 11),
        "</text></revision><revision><text>" + "a" * (1 << 16),
    ],
    ids=["text", "comments", "elements", "empty elements", "revisions"],
)
def test_a_page_without_end_takes_no_memory_without_end(limit, body):
    head, tail = "<mediawiki><page><id>1</id><revision><text>", "</text></revision></page>"

    def peak_of(n):
        tracemalloc.start()
        try:
            read_stream(Repeated(head, body, n, tail + "</mediawiki>"))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak_of(64) < peak_of(8) + limit


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (
            io.StringIO('<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><a>&c;</a>'),
            "a document type",
        ),
        (io.StringIO('<!DOCTYPE a SYSTEM "file:///etc/hostname"><a/>'), "a document type"),
        (io.StringIO("<a>" * 65 + "</a>" * 65), "64 deep"),
        (io.StringIO("<a>" + "".join(f"<b{i}/>" for i in range(5000)) + "</a>"), "4,096 names"),
        (
            io.StringIO("<a>" + "".join(f"<b xmlns:c{i}='d'/>" for i in range(5000)) + "</a>"),
            "4,096 names",
        ),
        (Repeated("<a><!--", "b" * (1 << 20), 20, "--></a>"), "a tag of more than"),
        (Repeated('<a b="', "b" * (1 << 20), 20, '"/>'), "a tag of more than"),
    ],
    ids=["entities", "external", "depth", "names", "prefixes", "comment", "attribute"],
)
def test_xml_that_could_grow_without_limit_is_refused(stream, message):
    with pytest.raises(DataError, match=rf"w\.xml has .*{message}.*export it again"):
        read_stream(stream)


def test_an_entity_nobody_declared_is_refused():
    with pytest.raises(DataError, match=r"not well-formed after page 1 .*undefined entity"):
        read(page(1, "a"), page(2, "&b;"))
