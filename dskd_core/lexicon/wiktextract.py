"""Wiktextract JSON lines of Wiktionary (kaikki.org), plain or gzipped.

Relations stand at entry level and inside ``senses[]``. Only the fields that are read are decoded,
each to its type, so a line costs a fraction of ``json.loads``.
"""

from collections.abc import Iterator

import msgspec

from dskd_core.errors import DataError
from dskd_core.lexicon.cleaning import fault_of, tidy
from dskd_core.lexicon.files import lines_of
from dskd_core.lexicon.rows import PairRow, Relation, Source

LICENCE = "CC BY-SA 4.0"
# In "synonyms" and in "antonyms"; most lines have neither and are not decoded at all.
_RELATIONS = b'onyms"'
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

    Counted: broken_json, wrong_shape, not_utf8 (with lines), without_relations, redirect, no_word,
    other_language, excluded_sense, excluded_tag, self_link, and the codes of ``cleaning.fault_of``.

    Raises:
        DataError: if no line has relations in the wanted language.
    """
    decode = msgspec.json.Decoder(Entry).decode
    report, excluded = source.report, frozenset(source.settings.excluded_tags)
    for number, line in lines_of(source):
        if _RELATIONS not in line:
            _pass_over(line, number, source)
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
            yield from _pairs_of(entry, source, excluded)
    if not report.counts["entries"]:
        raise DataError(
            f"{source.path} has no relations in the language {source.settings.language!r} "
            f"({dict(report.counts)}); give a Wiktextract JSONL, or set another language."
        )


def _pass_over(line: bytes, number: int, source: Source) -> None:
    """Count a line that relates nothing; it is looked at only as far as to see it is whole."""
    text = line.strip()
    if text.startswith(b"{") and text.endswith(b"}"):
        source.report.count("without_relations")
    elif text:
        source.report.count("broken_json", number)


def _pairs_of(entry: Entry, source: Source, excluded: frozenset[str]) -> Iterator[PairRow]:
    report = source.report
    if not entry.word:
        report.count("redirect" if entry.redirect else "no_word")
        return
    if entry.lang_code != source.settings.language:
        report.count("other_language")
        return
    report.count("entries")
    kept = [sense for sense in entry.senses if excluded.isdisjoint(sense.tags)]
    if len(kept) < len(entry.senses):
        report.counts["excluded_sense"] += len(entry.senses) - len(kept)
        if not kept:
            return
    word = tidy(entry.word)
    if entry.synonyms or entry.antonyms:
        # What is said of the whole entry is said of its sense, if there is only one.
        sense = kept[0] if len(kept) == 1 else Sense()
        yield from _related(word, entry.pos, entry, sense, source, excluded)
    for sense in kept:
        if sense.synonyms or sense.antonyms:
            _look_for_thesaurus(sense, source)
            yield from _related(word, entry.pos, sense, sense, source, excluded)


def _related(
    word: str,
    pos: str,
    holder: Entry | Sense,
    sense: Sense,
    source: Source,
    excluded: frozenset[str],
) -> Iterator[PairRow]:
    gloss = tidy(sense.glosses[-1]) if sense.glosses else ""
    code_of_word, key = fault_of(word), word.casefold()
    relations: tuple[Relation, ...] = ("synonym", "antonym")
    for relation, items in zip(relations, (holder.synonyms, holder.antonyms), strict=True):
        for item in items:
            other = tidy(item.word)
            code = code_of_word or fault_of(other)
            if code is None and other.casefold() == key:
                code = "self_link"
            if code is None and item.tags and not excluded.isdisjoint(item.tags):
                code = "excluded_tag"
            if code is not None:
                source.report.count(code)
                continue
            yield PairRow(
                word_a=word,
                word_b=other,
                relation=relation,
                source=source.name,
                pos=pos,
                sense=tidy(item.sense) or gloss,
                tags=_tags_of(item),
                licence=source.licence,
                weight=1.0,
            )


def _tags_of(item: Item) -> tuple[str, ...]:
    if item.source.startswith(_THESAURUS):
        return tuple(sorted({*item.tags, "thesaurus"}))
    return tuple(sorted(item.tags)) if item.tags else ()


def _look_for_thesaurus(sense: Sense, source: Source) -> None:
    if any(item.source.startswith(_THESAURUS) for item in sense.antonyms):
        source.report.count("thesaurus_antonyms_in_senses")
        if _THESAURUS_NOTE not in source.report.notes:
            source.report.notes.append(_THESAURUS_NOTE)
