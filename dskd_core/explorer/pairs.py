"""Two words held against each other, and the pairs of the lexicon that the states contradict."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dskd_core.explorer.opened import OpenDictionary
from dskd_core.explorer.words import derivation

_APART, _TOGETHER = 0.9, 0.5
_CONTRADICTION_BYTES = 400 << 20
_WORDS_WITH_BOTH = """
SELECT f.text FROM found f JOIN words w ON w.word = f.text
WHERE f.token_id < 0 AND w.row_start >= 0 AND f.n_synonyms > 0 AND f.n_antonyms > 0
ORDER BY f.n_occurrences DESC, f.text
"""


@dataclass(frozen=True)
class Origin:
    """What one source says of a pair, or what negation makes of it."""

    relation: str
    weight: float
    tier: str
    source: str
    pos: str
    sense: str
    tags: list[str]
    licences: list[str]
    reason: str


@dataclass(frozen=True)
class Pair:
    """Two words and the distances between their senses.

    Attributes:
        one, other: as the lexicon writes them.
        relation: synonym, antonym, or nothing.
        weight: of the relation.
        origins: everything said of them.
        rows: of their senses.
        mse: [k, k'] ||x - y||^2 / d.
        cosine: [k, k'].
        own_nearest: of all senses of both, how many have their nearest other sense in the same
            word; None where a word has none or one sense too few to say.
    """

    one: str
    other: str
    relation: str
    weight: float
    origins: list[Origin]
    rows: tuple[list[int], list[int]]
    mse: NDArray[np.float64]
    cosine: NDArray[np.float64]
    own_nearest: tuple[int, int] | None


def read_pair(opened: OpenDictionary, one: str, other: str) -> Pair:
    """Return two words held against each other; case does not matter.

    Raises:
        DataError: if one of them is not known, or a chunk is damaged.
    """
    queries = opened.queries
    known = [queries.known(word) for word in (one, other)]
    rows = [list(opened.rows_of_word(word)) for word in known]
    senses = [opened.rows.take(np.array(r, np.int64)).astype(np.float64) for r in rows]
    said = [p for p in queries.relations(known[0]) if p["neighbour"] == known[1]]
    origins = [_origin(known[0], known[1], row) for row in queries.origins(*known)]
    mse, cosine = distances(*senses)
    return Pair(
        known[0],
        known[1],
        said[0]["relation"] if said else "",
        float(said[0]["weight"]) if said else 0.0,
        origins,
        (rows[0], rows[1]),
        mse,
        cosine,
        own_nearest(*senses) if known[0] != known[1] else None,
    )


def distances(
    one: NDArray[np.floating], other: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the MSE (||x - y||^2 / d) and the cosine of each sense with each, [k, k'] both.

    >>> mse, cosine = distances(np.array([[3.0, 4.0]]), np.array([[3.0, 4.0], [4.0, -3.0]]))
    >>> mse.tolist(), cosine.tolist()
    ([[0.0, 25.0]], [[1.0, 0.0]])
    """
    x, y = one.astype(np.float64), other.astype(np.float64)
    products, x2, y2 = x @ y.T, (x**2).sum(axis=1), (y**2).sum(axis=1)
    mse = np.maximum(x2[:, None] + y2[None, :] - 2.0 * products, 0.0) / x.shape[1]
    norms = np.sqrt(x2[:, None] * y2[None, :])
    return mse, np.divide(products, norms, out=np.zeros_like(norms), where=norms > 0)


def own_nearest(one: NDArray[np.floating], other: NDArray[np.floating]) -> tuple[int, int] | None:
    """Count the senses of two words whose nearest other sense is of the same word, and all.

    Of equally near senses the first word's win. None where a word has fewer than two senses: they
    have no other of the same word.

    >>> own_nearest(np.array([[0.0], [1.0]]), np.array([[9.0], [8.0], [2.0]]))
    (4, 5)
    """
    if len(one) < 2 or len(other) < 2:
        return None
    both = np.concatenate([one, other])
    mse, _ = distances(both, both)
    np.fill_diagonal(mse, np.inf)
    is_first = np.arange(len(both)) < len(one)
    same = is_first[mse.argmin(axis=1)] == is_first
    return int(same.sum()), len(both)


@dataclass(frozen=True)
class Contradiction:
    """A pair that the states contradict.

    Attributes:
        word: whose relatives they are.
        synonym, antonym: the synonym, and the antonym that is nearer than it.
        synonym_mse, antonym_mse: least MSE between a sense of the word and one of theirs.
        ratio: synonym_mse / antonym_mse; above 1.
    """

    word: str
    synonym: str
    antonym: str
    synonym_mse: float
    antonym_mse: float

    @property
    def ratio(self) -> float:
        """How many times as far the synonym is."""
        return self.synonym_mse / max(self.antonym_mse, 1e-12)


@dataclass(frozen=True)
class Contradictions:
    """The contradicted pairs, worst first, and what was looked at."""

    found: list[Contradiction]
    n_words: int
    n_words_with_both: int


def contradictions(
    opened: OpenDictionary, *, max_bytes: int = _CONTRADICTION_BYTES
) -> Contradictions:
    """Return every synonym that is farther from its word than one of the word's antonyms.

    Distance is the least MSE between any of their senses. A word's antonym here is its nearest.
    Relatives that share a token with the word are left out: Eq. 2 puts them beside it.
    Words are taken from the most frequent on until their relatives' senses fill ``max_bytes``.

    Raises:
        DataError: if a chunk is damaged.
    """
    with_both = [row["text"] for row in opened.queries.rows(_WORDS_WITH_BOTH, {}, "words")]
    budget = max_bytes // (opened.rows.hidden_size * 4)
    rows_of: dict[str, range] = {}
    chosen: list[tuple[str, list[dict[str, Any]]]] = []
    n_rows = 0
    for word, related in _relations_of(opened, with_both).items():
        for name, rows in _rows_of_relatives(opened, word, related).items():
            n_rows += len(rows) if name not in rows_of else 0
            rows_of[name] = rows
        if n_rows > budget and chosen:
            break
        chosen.append((word, related))
    senses = _read(opened, rows_of)
    found = [c for word, related in chosen for c in _contradicted(word, related, senses)]
    found.sort(key=lambda c: (-c.ratio, c.word, c.synonym))
    return Contradictions(found, len(chosen), len(with_both))


def _relations_of(opened: OpenDictionary, words: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the related words that have senses, with their rows, of many words in one query."""
    sql = """
    WITH headwords AS (SELECT unnest($words) AS headword),
    both_ways AS (
        SELECT word_a AS headword, word_b AS neighbour, relation FROM pairs
        UNION ALL SELECT word_b, word_a, relation FROM pairs
    )
    SELECT b.headword, b.neighbour, b.relation, w.row_start, w.row_stop
    FROM both_ways b JOIN headwords USING (headword) JOIN words w ON w.word = b.neighbour
    JOIN words h ON h.word = b.headword
    WHERE w.row_start >= 0 AND NOT list_has_any(w.token_ids, h.token_ids) ORDER BY b.neighbour
    """
    related: dict[str, list[dict[str, Any]]] = {word: [] for word in words}
    for row in opened.queries.rows(sql, {"words": words}, "pairs", "words") if words else []:
        related[row["headword"]].append(row)
    return related


def _rows_of_relatives(
    opened: OpenDictionary, word: str, related: Iterable[dict[str, Any]]
) -> dict[str, range]:
    own = {word: opened.rows_of_word(word)}
    return own | {r["neighbour"]: range(r["row_start"], r["row_stop"]) for r in related}


def _read(opened: OpenDictionary, rows_of: dict[str, range]) -> dict[str, NDArray[np.floating]]:
    """Return the senses of words; every chunk is read once."""
    if not rows_of:
        return {}
    numbers = np.concatenate([np.asarray(rows, np.int64) for rows in rows_of.values()])
    wanted, places = np.unique(numbers, return_inverse=True)
    values = opened.rows.take(wanted)
    ends = np.cumsum([len(rows) for rows in rows_of.values()])
    return {
        word: values[places[end - len(rows) : end]]
        for (word, rows), end in zip(rows_of.items(), ends, strict=True)
    }


def _contradicted(
    word: str, related: list[dict[str, Any]], senses: dict[str, NDArray[np.floating]]
) -> list[Contradiction]:
    least = {
        (pair["relation"], pair["neighbour"]): _least(senses[word], senses[pair["neighbour"]])
        for pair in related
        if len(senses[word]) and len(senses[pair["neighbour"]])
    }
    antonyms = {name: mse for (relation, name), mse in least.items() if relation == "antonym"}
    if not antonyms:
        return []
    antonym = min(antonyms, key=lambda name: (antonyms[name], name))
    return [
        Contradiction(word, name, antonym, mse, antonyms[antonym])
        for (relation, name), mse in least.items()
        if relation == "synonym" and mse > antonyms[antonym]
    ]


def _least(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    return float(distances(one, other)[0].min())


def _origin(one: str, other: str, row: dict[str, Any]) -> Origin:
    reason = derivation(one, other, row) if row["parent"] else ""
    return Origin(
        row["relation"],
        float(row["weight"]),
        row["tier"],
        row["source"],
        row["pos"],
        row["sense"],
        row["tags"],
        row["licences"],
        reason,
    )


def verdict(pair: Pair) -> str:
    """Say whether the teacher tells two words apart: nine senses in ten stay among their own."""
    n_own, n_all = pair.own_nearest or (0, 1)
    share = n_own / n_all
    return (
        "tells them apart"
        if share >= _APART
        else "does not tell them apart"
        if share < _TOGETHER
        else "tells them apart in part"
    )


def not_told(pair: Pair) -> str:
    """Say why nothing is said of whether the teacher tells two words apart; empty where it is."""
    if pair.own_nearest or pair.one == pair.other or not all(pair.rows):
        return ""
    single = [
        word for word, rows in zip((pair.one, pair.other), pair.rows, strict=True) if len(rows) == 1
    ]
    return f"{' and '.join(single)} {'has' if len(single) == 1 else 'have'} one sense"
