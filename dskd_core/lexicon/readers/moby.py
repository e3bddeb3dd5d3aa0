"""The Moby Thesaurus: ``root,word,word,...`` a line. Loose synonyms: no default names it."""

from collections.abc import Iterator

from dskd_core.lexicon.cleaning import fault_of, tidy
from dskd_core.lexicon.files import lines_of
from dskd_core.lexicon.registry import reader
from dskd_core.lexicon.rows import PairRow, Source


@reader("moby", PairRow, licence="Public domain", by_line=True)
def read_pairs(source: Source) -> Iterator[PairRow]:
    """Yield the root of each line with each of its n words, weighted 2 / (n + 1) as in Roget.

    Counted: not_utf8 (with lines), self_link, and the codes of ``cleaning.fault_of``.
    """
    for number, raw in lines_of(source):
        try:
            root, *others = (tidy(word) for word in raw.decode("utf-8").split(","))
        except UnicodeDecodeError:
            source.report.count("not_utf8", number)
            continue
        for word in others:
            code = fault_of(root) or fault_of(word)
            if code is None and word.casefold() == root.casefold():
                code = "self_link"
            if code is not None:
                source.report.count(code)
                continue
            yield PairRow(
                word_a=root,
                word_b=word,
                relation="synonym",
                source=source.name,
                pos="",
                sense="",
                tags=(),
                licence=source.licence,
                weight=2 / (len(others) + 1),
            )
