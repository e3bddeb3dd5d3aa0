"""The page of a word or a token: its senses with text, its relations with their origin."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np

from dskd_core.dictionary.composition import alignment
from dskd_core.explorer.nearest import Neighbour, nearest_senses
from dskd_core.explorer.opened import OpenDictionary


@dataclass(frozen=True)
class Example:
    """An occurrence: the text around the token with its spaces, and what stands in its place."""

    left: str
    token: str
    right: str
    written: str
    document: str


@dataclass
class Sense:
    """A sense of a token.

    Attributes:
        row: its row in the dictionary.
        number: from 0, the largest first.
        n_embeddings: occurrences of it.
        share: of its token's occurrences.
        examples: the occurrences nearest to it.
        top_tokens: what it makes the teacher say, likeliest first; None if that was not looked for.
        parts: of a composed sense, the sense of each token it was made of.
        nearest: senses of other words; None if they were not looked for.
    """

    row: int
    number: int
    n_embeddings: int = 0
    share: float = 0.0
    examples: list[Example] = field(default_factory=list)
    top_tokens: list[str] | None = None
    parts: list["Part"] = field(default_factory=list)
    nearest: list[Neighbour] | None = None


@dataclass(frozen=True)
class Part:
    """The sense of one token that a composed sense took: its row, and an example of it."""

    token_id: int
    text: str
    number: int
    row: int
    example: Example | None


@dataclass
class Senses:
    """The senses of one token, or of a word of several.

    Attributes:
        n_occurrences: of the token.
        n_kept: how many of them were clustered.
    """

    token_id: int
    text: str
    n_occurrences: int
    senses: list[Sense]
    word: str | None = None
    n_kept: int = 0


@dataclass(frozen=True)
class Relation:
    """A related word and why it is one."""

    word: str
    weight: float
    tier: str
    sources: list[str]
    licences: list[str]
    reason: str
    has_senses: bool


@dataclass
class Word:
    """All that a page shows of a word; ``spelling`` is its tokens as written after a space."""

    word: str
    tokens: list[Senses]
    composed: Senses | None
    spelling: list[tuple[int, str]]
    synonyms: list[Relation]
    antonyms: list[Relation]
    note: str = ""

    def senses(self) -> list[Sense]:
        """Return the senses of all its tokens, and the composed ones."""
        every = [*self.tokens, *([self.composed] if self.composed else [])]
        return [sense for of_token in every for sense in of_token.senses]


def read_word(
    opened: OpenDictionary, word: str, *, with_nearest: bool = True, with_head: bool = True
) -> Word:
    """Return what the dictionary says of a word; case does not matter.

    Args:
        opened: the dictionary.
        word: of its lexicon.
        with_nearest: whether to look for the nearest senses of other words.
        with_head: whether to read the teacher's head, for what senses make it say.

    Raises:
        DataError: if it has neither senses nor relations of it, or a chunk is damaged.
        ArtifactError: if a file is damaged, or an input of the dictionary is gone.
    """
    queries = opened.queries
    known = queries.known(word)
    spelling = queries.spelling(known)
    ids = spelling["token_ids"] if spelling else []
    known_tokens = [t for t in queries.tokens(known) if opened.rows_of_token(t)]
    tokens = [read_token(opened, token, with_head=with_head) for token in known_tokens]
    tokens.sort(key=lambda t: (-t.n_occurrences, t.token_id))
    composed = _composed(opened, known, ids) if len(ids) > 1 else None
    related = [_relation(known, pair) for pair in queries.relations(known)]
    found = Word(
        known,
        tokens,
        composed,
        [(token, opened.text_of(token)) for token in ids],
        [r for is_synonym, r in related if is_synonym],
        [r for is_synonym, r in related if not is_synonym],
        "" if tokens or composed else _why_none(opened, known, ids),
    )
    if composed and with_head:
        add_top_tokens(opened, composed.senses)
    if with_nearest:
        add_nearest(opened, found.senses())
    return found


def read_token(opened: OpenDictionary, token: int, *, with_head: bool = True) -> Senses:
    """Return the senses of a token, each with its share of occurrences and its examples.

    Args:
        opened: the dictionary.
        token: its number.
        with_head: whether to read the teacher's head, for what senses make it say.

    Raises:
        DataError: if the vocabulary has no such token, or a chunk is damaged.
    """
    rows = opened.rows_of_token(token)
    texts = (
        {
            sense: [_example(opened, row) for row in of_sense]
            for sense, of_sense in groupby(opened.queries.examples(token), lambda r: r["sense"])
        }
        if rows
        else {}
    )
    counts = opened.counts.counts[rows.start : rows.stop]
    senses = [
        Sense(row, number, int(n), float(n / max(1, counts.sum())), texts.get(number, []))
        for row, number, n in zip(rows, range(len(rows)), counts, strict=True)
    ]
    if with_head:
        add_top_tokens(opened, senses)
    word = opened.word_of_token.get(token)
    n_occurrences, n_kept = opened.occurrences_of(token), opened.counts.occurrences_of(token)
    return Senses(token, opened.text_of(token), n_occurrences, senses, word, n_kept)


def add_nearest(opened: OpenDictionary, senses: Iterable[Sense]) -> None:
    """Look for the nearest senses of other words of each; one pass over the rows."""
    senses = list(senses)
    found = nearest_senses(opened, [sense.row for sense in senses])
    for sense, nearest in zip(senses, found, strict=True):
        sense.nearest = nearest


def add_top_tokens(opened: OpenDictionary, senses: Iterable[Sense]) -> None:
    """Add what each sense makes the teacher say: nothing where its head cannot be read."""
    senses = list(senses)
    said = read_top_tokens(opened, [sense.row for sense in senses])
    for sense, tokens in zip(senses, said, strict=True):
        sense.top_tokens = tokens


def read_top_tokens(opened: OpenDictionary, rows: list[int]) -> list[list[str]]:
    """Return what each of some senses makes the teacher say, likeliest first.

    Raises:
        DataError: if a chunk is damaged.
    """
    if not rows or isinstance(opened.head, str):
        return [[] for _ in rows]
    return opened.head.top_tokens(opened.rows.take(np.array(rows, np.int64)))


def first_examples(opened: OpenDictionary, rows: Iterable[int]) -> dict[int, Example]:
    """Return the occurrence nearest to each sense; a composed one has none."""
    owners = {row: opened.owner(row) for row in rows}
    texts = opened.first_texts({o.token_id for o in owners.values() if o.token_id >= 0})
    places = {row: texts.get((o.token_id, o.sense)) for row, o in owners.items()}
    return {row: _example(opened, text) for row, text in places.items() if text}


def _example(opened: OpenDictionary, row: dict[str, Any]) -> Example:
    """Return an occurrence; a tokenizer that drops spaces leaves one on either side."""
    token, written = (row[key].strip() or row[key] for key in ("token", "written"))
    left, right = (" ".join(row[side].split()) for side in ("left", "right"))
    joins = opened.keeps_spaces and (written == token or not row["right"][:1].isalnum())
    if left and not (opened.keeps_spaces and row["token"][:1].strip() and row["left"][-1:].strip()):
        left += " "
    if right and not (joins and row["right"][:1].strip()):
        right = f" {right}"
    return Example(left, token, right, "" if written == token else written, row["document_id"])


def _composed(opened: OpenDictionary, word: str, ids: list[int]) -> Senses | None:
    """Return the composed senses of a word of several tokens, and what each was made of."""
    rows = opened.rows_of_word(word)
    if not rows:
        return None
    of_tokens = [opened.rows_of_token(token) for token in ids]
    chosen = alignment([opened.rows.slice(r.start, r.stop) for r in of_tokens])
    texts = first_examples(opened, [row for r in of_tokens for row in r])
    senses = []
    for number, row in enumerate(rows):
        parts = [
            Part(
                token,
                opened.text_of(token),
                int(sense),
                r.start + int(sense),
                texts.get(r.start + int(sense)),
            )
            for token, r, sense in zip(ids, of_tokens, chosen[number], strict=True)
        ]
        senses.append(Sense(row, number, parts=parts))
    return Senses(-1, word, 0, senses, word)


def _why_none(opened: OpenDictionary, word: str, ids: list[int]) -> str:
    if not ids:
        return f"{word} takes more tokens than a word of this dictionary may have."
    absent = [opened.text_of(token) for token in ids if not opened.rows_of_token(token)]
    return f"No senses: the corpus gave no embeddings of {', '.join(map(repr, absent))}."


def _relation(word: str, pair: dict[str, Any]) -> tuple[bool, Relation]:
    reason = derivation(word, pair["neighbour"], pair) if pair["parent"] else ""
    has_senses = pair["row_start"] is not None and pair["row_start"] >= 0
    return pair["relation"] == "synonym", Relation(
        pair["neighbour"],
        float(np.float32(pair["weight"])),
        pair["tier"],
        pair["sources"],
        pair["licences"],
        reason,
        has_senses,
    )


def derivation(word: str, neighbour: str, origin: dict[str, Any]) -> str:
    """Say in words how negation made a pair from another.

    >>> derivation("accurate", "fault", {"relation": "antonym", "affix": "-less",
    ...     "parent": "accurate|faultless", "sources": ["roget"]})
    'accurate / faultless are synonyms in roget, -less, so accurate / fault are antonyms'
    """
    other = {"synonym": "antonym", "antonym": "synonym"}
    before, affixes = origin["relation"], origin["affix"].split()
    if len(affixes) == 1:
        before = other[before]
    sources = ", ".join(origin.get("sources") or [origin.get("source", "")])
    return (
        f"{origin['parent'].replace('|', ' / ')} are {before}s in {sources}, "
        f"{' and '.join(affixes)}, so {word} / {neighbour} are {origin['relation']}s"
    )
