"""The odd ones out: senses whose nearest neighbours are none of the word's relatives."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dskd_core.explorer.nearest import Neighbour, SenseIndex, nearest_senses
from dskd_core.explorer.opened import OpenDictionary
from dskd_core.explorer.pairs import distances
from dskd_core.explorer.words import Example, first_examples
from dskd_core.progress import Progress

N_NEAREST = 3
_MAX_SENSES = 2_000
_SENSES_A_TIME = 64
_FREQUENT = """
SELECT f.text, w.row_start, w.row_stop FROM found f JOIN words w ON w.word = f.text
WHERE f.token_id < 0 AND w.row_start >= 0 AND w.row_stop <= $n_token_rows
  AND f.n_synonyms + f.n_antonyms > 0
ORDER BY f.n_occurrences DESC, f.text
"""


@dataclass(frozen=True)
class Odd:
    """A sense beside which no relative of its word stands.

    Attributes:
        row: its row.
        word, sense: whose it is, and which.
        near: the nearest senses of other words.
        relative: the related word that is nearest to it, and its MSE.
    """

    row: int
    word: str
    sense: int
    near: list[Neighbour]
    relative: str
    relative_mse: float

    @property
    def ratio(self) -> float:
        """How many times as far the nearest relative is as the nearest word."""
        return self.relative_mse / max(self.near[0].mse, 1e-12)


@dataclass(frozen=True)
class OddOnes:
    """The odd ones, those with the farthest relatives first, and how much was looked at."""

    found: list[Odd]
    n_senses: int
    n_words: int
    n_words_related: int


def odd_ones(
    opened: OpenDictionary, index: Callable[[], SenseIndex | None], progress: Progress
) -> OddOnes:
    """Return the senses that have no relative of their word among their three nearest words.

    Looked at are the senses of the most frequent words whose relatives have senses, 2,000 at most.
    Relatives that share a token with the word count as the others do.

    Args:
        opened: the dictionary.
        index: returns where to look for neighbours, or None to look at every row.
        progress: told senses.

    Raises:
        DataError: if a chunk is damaged.
    """
    first = {"n_token_rows": opened.rows.n_token_rows}
    words = {
        row["text"]: range(row["row_start"], row["row_stop"])
        for row in opened.queries.rows(_FREQUENT, first, "words")
    }
    relatives = {
        word: {relative.word: relative.rows for relative in found if relative.rows}
        for word, found in opened.related(list(words)[:_MAX_SENSES]).items()
    }
    senses: list[tuple[str, int]] = []
    for word, rows in words.items():
        if relatives.get(word) and len(senses) + len(rows) <= _MAX_SENSES:
            senses += [(word, row) for row in rows]
    found, where = [], index()
    every_row_is_fetched = where is None and not opened.rows.fits
    step = max(1, len(senses)) if every_row_is_fetched else _SENSES_A_TIME
    for start in range(0, len(senses), step):
        progress(start, len(senses), "senses")
        some = senses[start : start + step]
        near = nearest_senses(opened, [row for _, row in some], N_NEAREST, where)
        for (word, row), neighbours in zip(some, near, strict=True):
            names = {n.owner.word or n.owner.text for n in neighbours}
            if neighbours and not names & set(relatives[word]):
                found.append(
                    _odd(opened, word, row, row - words[word].start, neighbours, relatives[word])
                )
    found.sort(key=lambda odd: (-odd.ratio, odd.row))
    return OddOnes(found, len(senses), len({word for word, _ in senses}), len(words))


def _odd(
    opened: OpenDictionary,
    word: str,
    row: int,
    sense: int,
    near: list[Neighbour],
    relatives: dict[str, range],
) -> Odd:
    rows = np.array([one for of_word in relatives.values() for one in of_word])
    names = [name for name, of_word in relatives.items() for _ in of_word]
    mses, _ = distances(opened.rows.take(np.array([row])), opened.rows.take(rows))
    nearest = int(mses[0].argmin())
    return Odd(row, word, sense, near, names[nearest], float(mses[0, nearest]))


def texts_of(opened: OpenDictionary, odd: list[Odd]) -> dict[int, Example]:
    """Return the occurrence nearest to each, by its row."""
    return first_examples(opened, [one.row for one in odd])
