"""Roget's Thesaurus: the Gutenberg texts #22 and #10681, plain or inside a saved web page.

A category such as ``420. Light -- N. light, ray, beam; day; ...`` runs over parts of speech and
paragraphs to the next category. Words between two semicolons are synonyms; words that only share a
category are not. The plain text has no usable antonyms.
"""

import html
import re
from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

from dskd_core.errors import DataError
from dskd_core.lexicon.cleaning import fault_of, tidy
from dskd_core.lexicon.files import lines_of
from dskd_core.lexicon.registry import reader
from dskd_core.lexicon.rows import PairRow, Source

MAX_ITEM_PARTS = 4
MAX_PARAGRAPH = 1 << 20  # letters; Roget's own longest has some thousands
_POS = {"N": "noun", "V": "verb", "Adj": "adj", "Adv": "adv", "Phr": "phrase", "Int": "intj"}
_NUMBER = re.compile(r"\s*#?(\d+[a-z]?)\.\s*")
_DASHES = re.compile(r"--\s*+(?=(?:N|V|Adj|Adv|Phr|Int)\.)")
_MARK = re.compile(r"\s*(N|V|Adj|Adv|Phr|Int)\.\s+")
_SEE = re.compile(
    r"&c\.?\s*+(?:\([^)]{0,200}+\))?\s*+(?:\d+[a-z]?|(?:n|v|adj|adv|phr|int)\.*(?=[\s,;.\]]|$))?"
    r"(?:\s*+\([^)]{0,200}+\))?(\s*+\[[^\]]{0,200}+\])?"
)
_NOTE = re.compile(r"\[([^\]]*)\]?")
_ASIDE = re.compile(r"\([^)]*\)")
_FOREIGN = {
    "Lat",
    "L",
    "Fr",
    "F",
    "It",
    "G",
    "Ger",
    "Sp",
    "Gr",
    "Grk",
    "Jap",
    "Port",
    "Russ",
    "Hindi",
}
_DAGGERS = "|†^"


class Head(NamedTuple):
    """What begins a section: its number, its name, and where its text starts in the line."""

    number: str
    name: str
    stop: int


class Paragraph(NamedTuple):
    """A run of semicolon groups under one category and part of speech."""

    category: str
    pos: str
    text: str


@reader("roget", PairRow, licence="Public domain")
def read_pairs(source: Source) -> Iterator[PairRow]:
    """Yield the pairs of each semicolon group, weighted by the size of the group.

    A group of n words gives each of its pairs the weight 2 / n, so a pair that stands alone
    weighs 1 and no long list outweighs it. Counted: foreign, obsolete, quotation, long_item,
    oversized_group, phrase_paragraph, long_paragraph, broken_entity and not_utf8 (with lines), and
    the codes of ``cleaning.fault_of``.

    Raises:
        DataError: if no category is found.
    """
    n_paragraphs = 0
    for paragraph in _paragraphs(source):
        n_paragraphs += 1
        if len(paragraph.text) > MAX_PARAGRAPH:
            source.report.count("long_paragraph")
            continue
        if paragraph.pos == "phrase":
            source.report.count("phrase_paragraph")
            continue
        for group in _groups(paragraph, source):
            yield from _pairs_of(group, paragraph, source)
    if not n_paragraphs:
        raise DataError(
            f"{source.path} has no category such as '1. Existence -- N. existence, being'; "
            "give the body of Roget's Thesaurus (Gutenberg #22 or #10681)."
        )


def _paragraphs(source: Source) -> Iterator[Paragraph]:
    category, pos, after_blank = "", "", False
    parts: list[str] = []
    for number, raw in lines_of(source):
        line = _decode(raw, number, source)
        start = _category_at(line)
        mark = _MARK.match(line, start.stop if start else 0)
        is_blank = not line or line.isspace()
        ends = start or mark or is_blank or line[0] in " \t" or line.lstrip().startswith("***")
        if ends and parts:
            yield Paragraph(category, pos, "".join(parts))
            parts = []
        if line.lstrip().startswith("***"):
            pos = ""
        if start:
            category = f"{start.number} {_NOTE.sub('', start.name).strip(' .')}"
            source.report.count("categories")
        if mark and category:
            pos = _POS[mark[1]]
        # After a blank line the text is a section title, until a category or a mark begins again.
        is_title = after_blank and not (start or mark)
        after_blank = is_blank or is_title
        if category and pos and not is_blank and not is_title:
            body = line[mark.end() if mark else 0 :].strip()
            if body:
                joint = " " if parts and not parts[-1].endswith("-") else ""
                parts.append(joint + body)
    if parts:
        yield Paragraph(category, pos, "".join(parts))


def _category_at(line: str) -> Head | None:
    """Return the category a line begins with, in time linear in its length.

    >>> _category_at("#420. Light [of day] -- N. light, ray")
    Head(number='420', name='Light [of day]', stop=24)
    """
    number = _NUMBER.match(line)
    dashes = _DASHES.search(line, number.end()) if number else None
    if number is None or dashes is None:
        return None
    name = line[number.end() : dashes.start()]
    return None if ";" in name else Head(number[1], name.rstrip(), dashes.end())


def _decode(raw: bytes, number: int, source: Source) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        source.report.count("not_utf8", number)
        text = raw.decode("latin-1")
    try:
        return html.unescape(text)
    except ValueError:  # a character's number of thousands of digits
        source.report.count("broken_entity", number)
        return text


def _groups(paragraph: Paragraph, source: Source) -> Iterator[list[tuple[str, str]]]:
    """Yield groups of (word, its notes joined by spaces)."""
    text = _SEE.sub(r"\1,", paragraph.text)
    # A semicolon or comma inside a note separates nothing.
    text = _NOTE.sub(lambda note: "[" + re.sub(r"[,;]", " ", note[1]) + "]", text)
    closed = text.rfind(")") + 1  # without its end an aside would be looked for to the end
    text = _ASIDE.sub(" ", text[:closed]) + text[closed:]
    for part in text.split(";"):
        group: dict[str, tuple[str, str]] = {}
        for item in part.split(","):
            entry = _item(item, source)
            if entry is not None:
                group.setdefault(entry[0].casefold(), entry)
        if len(group) > source.settings.max_group_words:
            source.report.count("oversized_group")
        elif len(group) > 1:
            yield list(group.values())


def _item(item: str, source: Source) -> tuple[str, str] | None:
    notes = [note.strip(" .") for note in _NOTE.findall(item)]
    word = tidy(_NOTE.sub(" ", item)).strip(" .-'\"!?")
    if not word:
        return None
    n_parts = len(word.split())
    code = fault_of(word)
    if any(note in _FOREIGN for note in notes):
        code = "foreign"
    elif "Obs" in notes or item.strip()[:1] in _DAGGERS:
        code = "obsolete"
    elif notes and n_parts >= MAX_ITEM_PARTS:
        code = "quotation"
    elif n_parts > MAX_ITEM_PARTS:
        code = "long_item"
    if code is not None:
        source.report.count(code)
        return None
    return word, " ".join(notes)


def _pairs_of(
    group: list[tuple[str, str]], paragraph: Paragraph, source: Source
) -> Iterator[PairRow]:
    source.report.count("groups")
    for (word_a, notes_a), (word_b, notes_b) in combinations(group, 2):
        yield PairRow(
            word_a=word_a,
            word_b=word_b,
            relation="synonym",
            source=source.name,
            pos=paragraph.pos,
            sense=paragraph.category,
            tags=tuple(sorted({note.lower() for note in (notes_a, notes_b) if note})),
            licence=source.licence,
            weight=2 / len(group),
        )
