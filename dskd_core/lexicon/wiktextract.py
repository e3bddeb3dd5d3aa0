"""Wiktextract JSON lines of Wiktionary (kaikki.org), plain or gzipped.

Relations stand at entry level and inside ``senses[]``. Only the fields that are read are decoded,
each to its type, so a line costs a fraction of ``json.loads``.
"""

from collections.abc import Iterator

import msgspec

from dskd_core.lexicon.cleaning import fault_of, tidy
from dskd_core.lexicon.files import lines_of
from dskd_core.lexicon.rows import PairRow, Relation, Source

LICENCE = "CC BY-SA 4.0"
_THESAURUS = "Thesaurus:"
_THESAURUS_NOTE = (
    "Antonyms inside senses that come from a Thesaurus page: extracts made before 2025-12-18 list "
    "synonyms of synonyms there. They carry the tag 'thesaurus'; take a newer extract if yours is "
    "older."
)


class Item(msgspec.Struct, gc=False):
    """A related word."""

    word: str = ""
    sense: str = ""
    source: str = ""
    tags: tuple[str, ...] = ()


class Sense(msgspec.Struct, gc=False):
    """A meaning of an entry."""

    glosses: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    synonyms: tuple[Item, ...] = ()
    antonyms: tuple[Item, ...] = ()


class Entry(msgspec.Struct, gc=False):
    """A word with one part of speech; a redirect has no word."""

    word: str = ""
    lang_code: str = ""
    pos: str = ""
    tags: tuple[str, ...] = ()
    senses: tuple[Sense, ...] = ()
    synonyms: tuple[Item, ...] = ()
    antonyms: tuple[Item, ...] = ()
    redirect: str = ""


def read_pairs(source: Source) -> Iterator[PairRow]:
    """Yield the synonyms and antonyms of the wanted language.

    Counted: broken_json, wrong_shape, not_utf8 (with lines), redirect, other_language,
    excluded_tag, self_link, and the codes of ``cleaning.fault_of``.
    """
    decode = msgspec.json.Decoder(Entry).decode
    report = source.report
    for number, line in lines_of(source):
        if not line.strip():
            continue
        try:
            entry = decode(line)
        except msgspec.ValidationError:
            report.count("wrong_shape", number)
        except UnicodeDecodeError:
            report.count("not_utf8", number)
        except msgspec.DecodeError:
            report.count("broken_json", number)
        else:
            yield from _pairs_of(entry, source)


def _pairs_of(entry: Entry, source: Source) -> Iterator[PairRow]:
    report, excluded = source.report, set(source.settings.excluded_tags)
    if not entry.word:
        report.count("redirect" if entry.redirect else "no_word")
        return
    if entry.lang_code != source.settings.language:
        report.count("other_language")
        return
    report.count("entries")
    for items, relation, sense in _lists_of(entry, excluded, source):
        for item in items:
            row = _pair(entry, item, relation, sense, source, excluded)
            if row is not None:
                yield row


def _lists_of(
    entry: Entry, excluded: set[str], source: Source
) -> Iterator[tuple[tuple[Item, ...], Relation, str]]:
    kept = [sense for sense in entry.senses if excluded.isdisjoint(sense.tags)]
    n_left_out = len(entry.senses) - len(kept)
    if n_left_out:
        source.report.counts["excluded_sense"] += n_left_out
    if kept or not entry.senses:
        gloss = kept[0].glosses[-1] if len(kept) == 1 and kept[0].glosses else ""
        yield entry.synonyms, "synonym", gloss
        yield entry.antonyms, "antonym", gloss
    for sense in kept:
        gloss = sense.glosses[-1] if sense.glosses else ""
        yield sense.synonyms, "synonym", gloss
        if any(item.source.startswith(_THESAURUS) for item in sense.antonyms):
            source.report.count("thesaurus_antonyms_in_senses")
            if _THESAURUS_NOTE not in source.report.notes:
                source.report.notes.append(_THESAURUS_NOTE)
        yield sense.antonyms, "antonym", gloss


def _pair(
    entry: Entry, item: Item, relation: Relation, sense: str, source: Source, excluded: set[str]
) -> PairRow | None:
    word_a, word_b = tidy(entry.word), tidy(item.word)
    code = fault_of(word_a) or fault_of(word_b)
    if code is None and word_a.casefold() == word_b.casefold():
        code = "self_link"
    if code is None and not excluded.isdisjoint(item.tags):
        code = "excluded_tag"
    if code is not None:
        source.report.count(code)
        return None
    tags = {*item.tags, "thesaurus"} if item.source.startswith(_THESAURUS) else set(item.tags)
    return PairRow(
        word_a=word_a,
        word_b=word_b,
        relation=relation,
        source=source.name,
        pos=entry.pos,
        sense=tidy(item.sense) or tidy(sense),
        tags=tuple(sorted(tags)),
        licence=source.licence,
        weight=1.0,
    )
