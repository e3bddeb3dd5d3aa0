"""What every format becomes: items, each a word in one or two contexts with what is known of it."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from dskd_core.dirty_rows import DirtyRows

Split = Literal["train", "test"]

DIRTY = {
    "wrong_columns": "a row has too few columns",
    "broken_line": "a line is not the JSON object it should be, or says a key twice",
    "long_line": "a line of more bytes than dskd reads of one",
    "open_quote": "a CSV row whose quotation marks are not closed",
    "bad_index": "the place of the word is no place in the sentence",
    "word_not_found": "the word is not marked and not in the sentence",
    "word_ambiguous": "the word is not marked and stands in the sentence more than once",
    "unknown_label": "the label is none of those the format has",
    "no_label": "the row has no label",
    "no_rating": "the rating of a pair is no number",
    "opens_the_text": "nothing stands before the word, so there is no state before it",
    "too_few_sentences": "there is no second sense of its word or sentence of its sense to go with",
    "same_word": "both words of a pair are one",
    "duplicate": "the same words in the same contexts came before",
    "in_train_too": "an item to be scored stands in the train split as well",
}
"""Codes of rows that are left out and counted."""


@dataclass(frozen=True)
class Context:
    """A word where it stands: characters ``start`` to ``stop`` of a text.

    >>> context = Context("bank", "two banks", 4, 9)
    >>> context.text[context.start : context.stop]
    'banks'
    """

    word: str
    text: str
    start: int
    stop: int


def shown(context: Context, n_characters: int = 60) -> str:
    """Write a context for people: the word in brackets, so many characters on each side.

    >>> shown(Context("bank", "two banks here", 4, 9), 3)
    '… wo [banks] he …'
    """
    before, after = context.text[: context.start], context.text[context.stop :]
    left, right = before[-n_characters:], after[:n_characters]
    word = context.text[context.start : context.stop]
    text = f"{left}[{word}]{right}"
    return f"{'… ' * (left != before)}{text}{' …' * (right != after)}"


@dataclass(frozen=True)
class Item:
    """One thing to be judged.

    Attributes:
        item: its name, unique in its source: file and line.
        word: the word, as a dictionary lists it; of a pair, both.
        gold: the sense; T or F for two contexts; synonym or antonym for a pair, or its rating.
        contexts: one, or the two that are compared.
        split: train labels senses and sets thresholds, test is scored.
        relation: of a rated pair, where its file says it.
    """

    item: str
    word: str
    gold: str
    contexts: tuple[Context, ...]
    split: Split = "test"
    relation: str = ""

    @property
    def key(self) -> str:
        """A hash of its words and contexts, by which samples are drawn and repetitions found."""
        parts = [f"{c.word}\t{c.start}\t{c.stop}\t{c.text}" for c in self.contexts]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def row_of(item: Item, measure: str) -> dict[str, Any]:
    """Return what the table of items says of an item, whatever a measure finds."""
    return {
        "measure": measure,
        "item": item.item,
        "word": item.word,
        "gold": item.gold,
        "predicted": "",
        "sense": None,
        "text": " / ".join(shown(context) for context in item.contexts),
    }


class Dirt(DirtyRows):
    """Rows left out, by code (the keys of ``DIRTY``)."""

    codes: ClassVar = DIRTY
    max_places: ClassVar = 5


def settled(
    items: Iterable[Item], *, train_share: float, max_items: int | None, dirt: Dirt
) -> list[Item]:
    """Return items without repetitions, each in its split, at most so many a split.

    Where the source has no train split, the ``train_share`` of least hash becomes one, word by
    word; which items that are depends on their own text alone. An item of the test split that also
    stands in the train split is left out: nothing is scored on what set its labels. Of more than
    ``max_items`` in a split those of least hash stay.
    """
    unique: dict[str, Item] = {}
    for item in items:
        earlier = unique.setdefault(item.key, item)
        if earlier is item:
            continue
        if {earlier.split, item.split} == {"train", "test"}:
            dirt.note("in_train_too", earlier.item if earlier.split == "test" else item.item)
            unique[item.key] = earlier if earlier.split == "train" else item
        else:
            dirt.note("duplicate", item.item)
    found = list(unique.values())
    if found and train_share and all(item.split == "test" for item in found):
        found = _parted(found, train_share)
    if max_items is not None:
        least = {
            key
            for split in ("train", "test")
            for key in sorted(item.key for item in found if item.split == split)[:max_items]
        }
        found = [item for item in found if item.key in least]
    return found


def _parted(items: Sequence[Item], train_share: float) -> list[Item]:
    """Put the items of least hash of every word into the train split."""
    by_word: dict[str, list[str]] = {}
    for item in items:
        by_word.setdefault(item.word, []).append(item.key)
    train: set[str] = set()
    # Words of one item each are no reason to have no train split: leftovers carry over.
    owed = 0.0
    for _, keys in sorted(by_word.items()):
        owed += train_share * len(keys)
        n = min(len(keys), int(owed + 1e-9))
        owed -= n
        train.update(sorted(keys)[:n])
    return [replace(item, split="train" if item.key in train else "test") for item in items]
