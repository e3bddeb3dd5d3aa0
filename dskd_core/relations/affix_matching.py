"""Negated words that no source segments, found by their surface among the words there are.

MorphyNet lists impatiently as made from impatient by -ly, and does not segment impatient. So a
word that begins with a negating prefix, whose rest is a word too, is taken for negated where

    un-, non-, dis-      the rest is an adjective, a participle, an adverb or a phrase (dis- : any)
    in-, im-, il-, ir-   both are adjectives and the rest has a Latinate ending
    any of them          the noun or adverb belongs to an adjective already found (impatience)

and no source makes the word by a suffix from one with the same beginning: impressive is of
impress, not of pressive. ``-less`` is opposed to the -ful, -ed and -y forms that are words.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Set

from dskd_core.lexicon.rows import DerivationRow
from dskd_core.relations.morphology import (
    LATIN_ADJECTIVE,
    PREFIX_TIERS,
    Negation,
    adjectives_in,
    find_segmented,
    may_flip,
    strip_prefix,
)

Licences = tuple[str, ...]

_MIN_BASE = 4
_PREFIXES = ("un", "non", "dis", "in", "im", "il", "ir")
_LETTERS_AFTER = {"im": "bmp", "il": "l", "ir": "r"}
_ASSIMILATED = "bmplr"
_SHORT = re.compile(r"[^aeiou]*[aeiou][^aeiouwxy]")
_OPEN_ENDINGS = ("ed", "ing", "able", "ible", "ly", "ness", "ful")
# The adjectives a noun or adverb may belong to: its ending, and what stands there instead.
_TWINS = (
    ("bility", ("ble",)),
    ("ility", ("ile",)),
    ("ity", ("", "e", "ous", "ious")),
    ("ence", ("ent",)),
    ("ency", ("ent",)),
    ("ance", ("ant",)),
    ("ancy", ("ant",)),
    ("acy", ("ate",)),
    ("ness", ("",)),
    ("ically", ("ic", "ical")),
    ("bly", ("ble",)),
    ("ly", ("",)),
    ("metry", ("metric", "metrical")),
    ("ism", ("istic", "ic", "ous")),
)


def find_negations(rows: Iterable[DerivationRow], words: Iterable[str] = ()) -> list[Negation]:
    """Return every negated word with its opposites, sorted."""
    rows = list(rows)
    found = find_segmented(rows)
    attested = _attested(rows, words)
    adjectives = {word for row in rows for word in adjectives_in(row)}
    inner = {
        row.word
        for row in rows
        if row.affix_kind == "suffix" and row.word[:2].lower() == row.base[:2].lower()
    }
    known = {n.word for n in found} | {row.word for row in rows if row.affix_kind == "prefix"}
    fresh = set(_by_prefix(attested, known=known, inner=inner, adjectives=adjectives))
    found |= fresh
    found.update(_twins(attested, found))
    found.update(_having(rows, attested, adjectives))
    return sorted(n for n in found if may_flip(n))


def _attested(rows: list[DerivationRow], words: Iterable[str]) -> dict[str, Licences]:
    """Return every word there is, with the licence it is known under if only the rows have it."""
    attested: dict[str, Licences] = {}
    for row in rows:
        for word in (row.word, row.base):
            known = attested.get(word)
            if known is None or (row.licence,) < known:
                attested[word] = (row.licence,)
    attested.update((word, ()) for word in words)
    return attested


def _bases(word: str, attested: Mapping[str, Licences]) -> Iterator[tuple[str, str]]:
    """Yield (prefix, base) where the base is a word and the prefix is spelled as it must be."""
    for prefix in _PREFIXES:
        base = strip_prefix(word, prefix)
        if len(base) < _MIN_BASE or base not in attested:
            continue
        if prefix[0] == "i":
            fits = base[0] in _LETTERS_AFTER.get(prefix, "")
            if fits if prefix != "in" else base[0] not in _ASSIMILATED:
                yield prefix, base
        else:
            yield prefix, base


def _by_prefix(
    attested: Mapping[str, Licences], *, known: Set[str], inner: Set[str], adjectives: Set[str]
) -> Iterator[Negation]:
    for word in attested:
        if not word.startswith(_PREFIXES) or word in known or word in inner:
            continue
        for prefix, base in _bases(word, attested):
            if prefix in ("un", "non"):
                open_class = base in adjectives or base.endswith(_OPEN_ENDINGS)
                negates = open_class or " " in word or "-" in word
            elif prefix == "dis":
                negates = True
            else:
                negates = base.endswith(LATIN_ADJECTIVE) and {word, base} <= adjectives
            if negates:
                licences = _joint(attested, word, base)
                yield Negation(word, base, f"{prefix}-", PREFIX_TIERS[prefix], "", licences)


def _twins(attested: Mapping[str, Licences], found: Set[Negation]) -> Iterator[Negation]:
    """Yield the nouns and adverbs of adjectives that were found: impatience, asymmetry."""
    by_word = {n.word: n for n in found if n.affix != "-less"}
    prefixes = (*_PREFIXES, "an", "a")
    for word in attested:
        if word in by_word or not word.startswith(prefixes):
            continue
        twin = next((by_word[t] for t in _adjectives_of(word) if t in by_word), None)
        base = strip_prefix(word, twin.affix[:-1]) if twin else ""
        if twin and base in attested:
            pos = "adv" if word.endswith("ly") else "noun"
            licences = tuple(sorted({*twin.licences, *_joint(attested, word, base)}))
            yield Negation(word, base, twin.affix, twin.tier, pos, licences)


def _adjectives_of(word: str) -> Iterator[str]:
    for ending, adjective_endings in _TWINS:
        if word.endswith(ending):
            yield from (word.removesuffix(ending) + other for other in adjective_endings)


def _having(
    rows: list[DerivationRow], attested: Mapping[str, Licences], adjectives: Set[str]
) -> Iterator[Negation]:
    """Yield -less against a form in -ful or -ed that no source segments, such as useful."""
    segmented = {row.word for row in rows if row.affix_kind == "suffix"}
    for row in rows:
        stem = row.word.removesuffix("less")
        if row.affix != "less" or stem == row.word or row.base not in (stem, stem[:-1] + "y"):
            continue
        full = stem + "ful"
        if full in attested:
            # A bucketful is a measure and no opposite: sources segment those.
            opposites = [full] if full not in segmented else []
        else:
            opposites = [w for w in (_participle(row.base),) if w in adjectives]
        for opposite in opposites:
            for suffix, pos in (("", "adj"), ("ly", "adv"), ("ness", "noun")):
                word, base = row.word + suffix, opposite + suffix
                if word in attested and base in attested:
                    licences = tuple(sorted({row.licence, *_joint(attested, word, base)}))
                    yield Negation(word, base, "-less", "likely", pos, licences)


def _participle(noun: str) -> str:
    """Return how a noun takes -ed.

    >>> [_participle(noun) for noun in ("sleeve", "belly", "rib", "beak")]
    ['sleeved', 'bellied', 'ribbed', 'beaked']
    """
    if noun.endswith("e"):
        return noun + "d"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return noun[:-1] + "ied"
    return noun + (noun[-1] if _SHORT.fullmatch(noun) else "") + "ed"


def _joint(attested: Mapping[str, Licences], *words: str) -> Licences:
    return tuple(sorted({licence for word in words for licence in attested.get(word, ())}))
