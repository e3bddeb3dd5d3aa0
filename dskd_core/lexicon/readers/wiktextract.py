"""Wiktextract JSON lines of Wiktionary (kaikki.org), plain or gzipped.

Relations stand at entry level and inside ``senses[]``. Three lines of four have none and are never
decoded; of the others only the fields that are read are, each to its type.
"""

import re
from collections.abc import Iterator
from datetime import date
from typing import Any

import msgspec

from dskd_core.lexicon.cleaning import clean, tidy
from dskd_core.lexicon.files import blocks_of
from dskd_core.lexicon.readers.scanning import Lines, Positions, lines_in, lines_with
from dskd_core.lexicon.registry import reader
from dskd_core.lexicon.rows import PairRow, Relation, Source

# The ends of "synonyms" and "antonyms", but not of "hyponyms"; y is their rarest letter.
_KEYS = (b'nonyms"', b'tonyms"')
_RARE = 3
_RELATIONS: tuple[Relation, ...] = ("synonym", "antonym")
_THESAURUS = "Thesaurus:"
_MENDED_ON = date(2025, 12, 18)
_DATE = re.compile(r"(20\d\d)-?([01]\d)-?([0-3]\d)(?!\d)")


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


_NO_SENSE = Sense()
_HOLD_ITEMS = ("synonyms", "antonyms")


@reader("wiktextract", PairRow, licence="CC BY-SA 4.0", by_line=True)
def read_pairs(source: Source) -> Iterator[PairRow]:
    """Yield the synonyms and antonyms of the wanted language.

    A row carries the tags of its item and of the sense it stands in, ``thesaurus`` where it comes
    from a Thesaurus page, and ``thesaurus-antonym`` where it is an antonym inside a sense and does:
    extracts made before 2025-12-18 list synonyms of synonyms there. Counted: broken_json,
    wrong_shape, not_utf8 (with lines), without_relations, redirect, no_word, other_language,
    excluded_entry, excluded_sense, excluded_tag, self_link, and the codes of ``cleaning.fault_of``.
    """
    decode = msgspec.json.Decoder(Entry).decode
    report, excluded = source.report, frozenset(source.settings.excluded_tags)
    for block in blocks_of(source):
        lines, view = lines_in(block), memoryview(block)
        related = lines_with(lines, _KEYS, _RARE)
        _pass_over(block, lines, related, source)
        rows: list[PairRow] = []
        starts, ends = lines.starts[related].tolist(), lines.ends[related].tolist()
        for line, start, end in zip(related.tolist(), starts, ends, strict=True):
            try:
                entry = decode(view[start:end])
            except msgspec.ValidationError:
                number = report.n_lines + line + 1
                if (mended := _mended(bytes(view[start:end]), number, source)) is not None:
                    _add_pairs_of(mended, source, excluded, rows)
            except UnicodeDecodeError:
                report.count("not_utf8", report.n_lines + line + 1)
            except (msgspec.DecodeError, RecursionError):
                report.count("broken_json", report.n_lines + line + 1)
            else:
                _add_pairs_of(entry, source, excluded, rows)
        report.n_lines += len(lines.ends)
        yield from rows
    if report.counts["thesaurus_antonyms"]:
        report.note(_note_of(source))


def _mended(line: bytes, number: int, source: Source) -> Entry | None:
    """Return an entry without what has a wrong shape, each counted; None if the entry has."""

    def fitting(values: Any, kind: type[msgspec.Struct]) -> list[Any]:
        if not isinstance(values, list):
            source.report.count("wrong_shape", number)
            return []
        found = []
        for value in values:
            is_sense = isinstance(value, dict) and kind is Sense
            try:
                found.append(msgspec.convert(value | related(value) if is_sense else value, kind))
            except msgspec.ValidationError:
                source.report.count("wrong_shape", number)
        return found

    def related(holder: dict[str, Any]) -> dict[str, Any]:
        return {key: fitting(holder[key], Item) for key in _HOLD_ITEMS if holder.get(key)}

    try:
        raw = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError):  # the wrong shape came before what is no JSON
        source.report.count("broken_json", number)
        return None
    if isinstance(raw, dict):
        raw |= related(raw) | {"senses": fitting(raw.get("senses", []), Sense)}
    try:
        return msgspec.convert(raw, Entry)
    except msgspec.ValidationError:
        source.report.count("wrong_shape", number)
        return None


def _pass_over(block: bytes, lines: Lines, related: Positions, source: Source) -> None:
    """Count the lines that relate nothing; they are looked at only to see that they are whole."""
    whole = lines.look_whole()
    n_whole = int(whole.sum())
    doubtful = (~whole).nonzero()[0].tolist()
    known = set(related.tolist())
    n_related = len(known) - len(known.intersection(doubtful))
    source.report.counts["without_relations"] += n_whole - n_related
    for line in doubtful:
        text = block[lines.starts[line] : lines.ends[line]].strip()
        if line in known or not text:
            continue
        if text.startswith(b"{") and text.endswith(b"}"):
            source.report.count("without_relations")
        else:
            source.report.count("broken_json", source.report.n_lines + line + 1)


def _add_pairs_of(
    entry: Entry, source: Source, excluded: frozenset[str], rows: list[PairRow]
) -> None:
    count = source.report.count
    if not entry.word:
        return count("redirect" if entry.redirect else "no_word")
    if entry.lang_code != source.settings.language:
        return count("other_language")
    count("entries")
    if not excluded.isdisjoint(entry.tags):
        return count("excluded_entry")
    kept = [sense for sense in entry.senses if excluded.isdisjoint(sense.tags)]
    if len(kept) < len(entry.senses):
        source.report.counts["excluded_sense"] += len(entry.senses) - len(kept)
        if not kept:
            return None
    if entry.synonyms or entry.antonyms:
        # What is said of the whole entry is said of its sense, if there is only one.
        sense = kept[0] if len(kept) == 1 else _NO_SENSE
        _add_related(entry, entry, sense, source, excluded, rows)
    for sense in kept:
        if sense.synonyms or sense.antonyms:
            _add_related(entry, sense, sense, source, excluded, rows)
    return None


def _add_related(
    entry: Entry,
    holder: Entry | Sense,
    sense: Sense,
    source: Source,
    excluded: frozenset[str],
    rows: list[PairRow],
) -> None:
    """Add a row for every usable item of ``holder``; this runs once a pair of Wiktionary."""
    word, code_of_word = clean(entry.word)
    gloss = tidy(sense.glosses[-1]) if sense.glosses else ""
    key, pos, name, licence = word.casefold(), entry.pos, source.name, source.licence
    tags_of_sense = tuple(sorted(set(sense.tags)))
    for relation, items in zip(_RELATIONS, (holder.synonyms, holder.antonyms), strict=True):
        for item in items:
            other, code = clean(item.word)
            if code_of_word is not None:
                code = code_of_word
            elif code is None and other.casefold() == key:
                code = "self_link"
            elif code is None and item.tags and not excluded.isdisjoint(item.tags):
                code = "excluded_tag"
            if code is not None:
                source.report.count(code)
                continue
            tags = tags_of_sense
            if item.tags or item.source:
                tags = _tags_of(item, sense, relation == "antonym" and holder is sense, source)
            meaning = tidy(item.sense) if item.sense else gloss
            rows.append(
                PairRow(word, other, relation, name, pos, meaning, tags, licence, 1.0),
            )


def _tags_of(item: Item, sense: Sense, doubtful: bool, source: Source) -> tuple[str, ...]:
    tags = {*item.tags, *sense.tags}
    if item.source.startswith(_THESAURUS):
        tags.add("thesaurus")
        if doubtful:
            tags.add("thesaurus-antonym")
            source.report.count("thesaurus_antonyms")
    return tuple(sorted(tags))


def _date_in(name: str) -> date | None:
    """Return the day a file's name tells.

    >>> _date_in("kaikki.org-dictionary-English-20251101.jsonl.gz")
    datetime.date(2025, 11, 1)
    """
    found = _DATE.search(name)
    try:
        return date(*map(int, found.groups())) if found else None
    except ValueError:
        return None


def _note_of(source: Source) -> str:
    """Say what the antonyms of Thesaurus pages are worth, as far as the file's age is known."""
    made_on = source.made_on or _date_in(source.path.name)
    if made_on is not None and made_on >= _MENDED_ON:
        return f"The extract was made on {made_on}; its Thesaurus antonyms are to be trusted."
    age = f"is of {made_on}" if made_on else "may be older, its date is not known"
    return (
        f"Extracts made before {_MENDED_ON} list synonyms of synonyms as antonyms inside senses "
        f"where they come from a Thesaurus page, and this one {age}. Those rows carry the tag "
        "thesaurus-antonym: exclude it, or take a newer extract."
    )
