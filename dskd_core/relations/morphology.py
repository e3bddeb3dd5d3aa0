"""Which words negate which: the surface affix stripped, in tiers of trust (Table 1).

    sure    un-, non-, the negative in-/im-/il-/ir-
    likely  dis-, a-/an- before adjectives, -less against -ful, -ed and -y of the same base
    loose   -less against the bare noun (the paper's accurate / fault)
    never   the locative in-, de-, anti-, counter-, mis-, -free, and the words of ``exceptions.tsv``

MorphyNet does not tell the negative in- from the locative one; Latinate endings of the base do.
What no source segments (impatient, unforgettable) is found by ``affix_matching.py``.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Set
from typing import Literal

import msgspec

from dskd_core.lexicon.rows import DerivationRow
from dskd_core.word_tables import by_kind

Tier = Literal["sure", "likely", "loose"]

PREFIX_TIERS: dict[str, Tier] = {
    **dict.fromkeys(("un", "non", "in", "im", "il", "ir"), "sure"),
    **dict.fromkeys(("dis", "a", "an"), "likely"),
}
_NEGATIVE_IN = ("in", "im", "il", "ir")
_ENDINGS = (
    "able ible uble al ic ous ive ate ant ent ory ary ar ile ect ite ute ure ane ise ere ete "
    "eet apt est id it an ial per irm rupt act inct une ert und ine il ain uman dox ex"
)
LATIN_ADJECTIVE = tuple(_ENDINGS.split())
_LATIN_NOUN = ("ity", "ety", "ness", "ency", "ancy", "ence", "ance", "acy", "ude", "urity")
_GREEK_ADJECTIVE = ("al", "ic", "ous", "ar", "iate", "udate", "ulate", "ile", "ulent", "escent")
_MIN_GREEK_BASE = 5
_OF_ADJECTIVES = ("ly", "ness", "ity", "cy")
_MAX_SUFFIXES = 3
HAVING = ("ful", "ed", "y")


_EXCEPTIONS = by_kind(__package__, "exceptions.tsv")
"""(word, base) by kind; the comments of the file say what each is."""
UNNEGATED_STEMS = tuple(word for word, _ in _EXCEPTIONS["stem"])
UNOPPOSED_PAIRS = frozenset(_EXCEPTIONS["pair"])
NEGATIVE_NOUNS = frozenset(word for word, _ in _EXCEPTIONS["noun"])


class Negation(msgspec.Struct, frozen=True, order=True):
    """``word`` says the opposite of ``base``.

    Attributes:
        word: the negated word.
        base: its opposite.
        affix: ``un-`` or ``-less``, with its hyphen.
        tier: how far to trust the flip.
        pos: part of speech of ``word``, or empty if unknown.
        licences: of the rows that say so.
    """

    word: str
    base: str
    affix: str
    tier: Tier
    pos: str
    licences: tuple[str, ...]


def strip_prefix(word: str, prefix: str) -> str:
    """Return the surface of ``word`` after ``prefix``, or an empty text.

    >>> strip_prefix("unhappily", "un"), strip_prefix("non-linear", "non"), strip_prefix("a", "a")
    ('happily', 'linear', '')
    """
    return word[len(prefix) :].lstrip("-") if word.lower().startswith(prefix) else ""


def find_segmented(rows: Iterable[DerivationRow]) -> set[Negation]:
    """Return every word that a row segments as negated, with its opposites.

    A suffix carries the negation on: unhappily comes from unhappy by -ly, so happily is its
    opposite, and carelessness that of carefulness. Whether an opposite is a word at all is not
    decided here.
    """
    made_from: defaultdict[str, list[DerivationRow]] = defaultdict(list)
    negated: list[DerivationRow] = []
    adjectives: set[str] = set()
    for row in rows:
        if row.affix_kind == "suffix":
            made_from[row.base].append(row)
        if row.affix == "less" or (row.affix_kind == "prefix" and row.affix in PREFIX_TIERS):
            negated.append(row)
        adjectives.update(adjectives_in(row))
    found: set[Negation] = set()
    for row in negated:
        if row.affix_kind == "prefix":
            found.update(_by_prefix(row, made_from, adjectives))
        else:
            found.update(_by_less(row, made_from))
    return {n for n in found if may_flip(n)}


def may_flip(negation: Negation) -> bool:
    """Say whether no row of ``exceptions.tsv`` keeps a word and its base apart."""
    word, base = negation.word.lower(), negation.base.lower()
    if negation.affix != "-less" and word.startswith(UNNEGATED_STEMS):
        return False
    return not any(
        (word.removesuffix(ending), base.removesuffix(ending)) in UNOPPOSED_PAIRS
        for ending in ("", "ly", "ness")
    )


def adjectives_in(row: DerivationRow) -> tuple[str, ...]:
    """Return the words a row shows to be adjectives: its own, or what -ly and the like are put to.

    >>> row = DerivationRow("validity", "valid", "ity", "suffix", "", "noun", "test", "free")
    >>> adjectives_in(row)
    ('valid',)
    """
    if row.affix_kind == "suffix" and row.affix in _OF_ADJECTIVES:
        return (row.base,)
    return (row.word,) if row.pos == "adj" else ()


def spelled_affix(word: str, affix: str) -> str:
    """Return the prefix as the word spells it: the in- of immoral is im-.

    >>> spelled_affix("immoral", "in"), spelled_affix("unkind", "un")
    ('im', 'un')
    """
    if affix not in _NEGATIVE_IN:
        return affix
    return next((name for name in _NEGATIVE_IN if word.lower().startswith(name)), affix)


def _by_prefix(
    row: DerivationRow, made_from: dict[str, list[DerivationRow]], adjectives: Set[str]
) -> Iterator[Negation]:
    affix = spelled_affix(row.word, row.affix)
    base = strip_prefix(row.word, affix)
    if row.word.lower().startswith(UNNEGATED_STEMS) or not _is_negative(row, base, adjectives):
        return
    for word, pos, licences in _with_suffixes(row, made_from):
        opposite = strip_prefix(word, affix)
        if opposite:
            yield Negation(word, opposite, f"{affix}-", PREFIX_TIERS[affix], pos, licences)


def _is_negative(row: DerivationRow, base: str, adjectives: Set[str]) -> bool:
    """Say whether the prefix negates here, by what the source says or by the base's ending."""
    if row.affix_sense or len(base) < 2:
        return row.affix_sense == "negative" and len(base) > 1
    if row.affix in _NEGATIVE_IN:
        # Sources call some adjectives nouns or verbs (invalid, independent).
        is_adjective = row.pos in ("adj", "") or {row.word, base} <= adjectives
        if is_adjective and base.endswith(LATIN_ADJECTIVE):
            return True
        if row.pos == "noun":
            return base.endswith(_LATIN_NOUN) or row.word.lower() in NEGATIVE_NOUNS
        return row.pos == "adv"
    if row.affix in ("a", "an"):
        learned = base.endswith(_GREEK_ADJECTIVE) and len(base) >= _MIN_GREEK_BASE
        fits = base[0] == "h" or (base[0] in "aeiou") == (row.affix == "an")
        return row.pos == "adj" and learned and fits
    return True


def _with_suffixes(
    row: DerivationRow, made_from: dict[str, list[DerivationRow]]
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield the word itself and what suffixes make of it: (word, part of speech, licences)."""
    front: list[tuple[str, str, tuple[str, ...]]] = [(row.word, row.pos, (row.licence,))]
    seen = {row.word}
    yield front[0]
    for _ in range(_MAX_SUFFIXES):
        children = [
            (child.word, child.pos, tuple(sorted({*licences, child.licence})))
            for word, _, licences in front
            for child in made_from.get(word, ())
            if child.word not in seen
        ]
        yield from children
        seen.update(word for word, *_ in children)
        front = children


def _by_less(row: DerivationRow, made_from: dict[str, list[DerivationRow]]) -> Iterator[Negation]:
    stem = row.word.removesuffix("less")
    # Penniless is of penny; but hopeless is not of home, though a source may say so.
    if stem == row.word or row.base not in (stem, stem[:-1] + "y"):
        return
    nouns = _children(row.word, ("ness",), made_from)
    for bare in (row, *nouns):
        # The noun faultlessness denies the fault as much as the adjective does.
        yield _less(bare, row.base, "loose", row)
    for having in _children(row.base, HAVING, made_from):
        same_root = having.word.startswith(stem[: max(2, len(stem) - 1)])
        if having.pos not in ("adj", "") or not same_root:
            continue
        yield _less(row, having.word, "likely", having)
        for suffix in ("ly", "ness"):
            for lacking in _children(row.word, (suffix,), made_from):
                for opposite in _children(having.word, (suffix,), made_from):
                    yield _less(lacking, opposite.word, "likely", having)


def _less(word: DerivationRow, base: str, tier: Tier, evidence: DerivationRow) -> Negation:
    licences = tuple(sorted({word.licence, evidence.licence}))
    return Negation(word.word, base, "-less", tier, word.pos, licences)


def _children(
    base: str, suffixes: tuple[str, ...], made_from: dict[str, list[DerivationRow]]
) -> list[DerivationRow]:
    return [row for row in made_from.get(base, ()) if row.affix in suffixes]
