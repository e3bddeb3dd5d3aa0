"""A map: the senses of some words and of their relatives in two dimensions."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dskd_core.errors import DataError
from dskd_core.explorer.opened import OpenDictionary, Owner
from dskd_core.explorer.pairs import distances
from dskd_core.explorer.words import Example, first_example

Method = Literal["pca", "tsne"]
MAX_WORDS = 8
_MAX_RELATIVES = 6
_WIDTH, _HEIGHT, _EDGE = 900, 560, 36
_N_NEAREST = 3
_LABEL_HEIGHT = 18


@dataclass(frozen=True)
class Point:
    """A sense on the map.

    Attributes:
        row, owner: which sense it is.
        colour: number of the chosen word it belongs to, or whose relative it is.
        relation: chosen, synonym or antonym.
        x, y: its place.
        example: the occurrence nearest to it.
        is_odd: none of its three nearest senses of other words here is related to its word.
        label: the word, at one point of each word; nothing at the others.
    """

    row: int
    owner: Owner
    word: str
    colour: int
    relation: str
    x: float
    y: float
    example: Example | None
    is_odd: bool
    nearest: tuple[str, ...]
    label: str

    @classmethod
    def plain(cls, row: int, owner: Owner, word: str, colour: int, x: float, y: float) -> "Point":
        """Return a point without text and neighbours, labelled with its sense."""
        place = (round(x, 1), round(y, 1))
        return cls(row, owner, word, colour, "chosen", *place, None, False, (), str(owner.sense))


@dataclass(frozen=True)
class Map:
    """Points, and what share of the variance two dimensions hold (PCA only)."""

    words: list[str]
    points: list[Point]
    explained: float | None
    width: int = _WIDTH
    height: int = _HEIGHT


def draw_map(opened: OpenDictionary, words: list[str], method: Method = "pca") -> Map:
    """Place the senses of some words, and of their heaviest synonyms and antonyms.

    Args:
        opened: the dictionary.
        words: as the lexicon writes them, at most eight.
        method: PCA, or t-SNE from the PCA's axes (the same picture every time).

    Raises:
        DataError: if there are too many words, they have no senses, or a chunk is damaged.
    """
    if len(words) > MAX_WORDS:
        raise DataError(f"A map has at most {MAX_WORDS} words, not {len(words)}; leave some out.")
    members = _members(opened, words)
    rows = np.array([row for _, _, _, of_word in members for row in of_word], np.int64)
    if not len(rows):
        raise DataError(f"None of {', '.join(words)} has senses; choose words of the corpus.")
    senses = opened.rows.take(rows).astype(np.float64)
    flat, explained = project(senses, method)
    places = fit(flat)
    names = [word for word, _, _, of_word in members for _ in of_word]
    about = {word: (colour, relation) for word, colour, relation, _ in members}
    nearest, odd = _odd_ones(opened, senses, names)
    points = []
    for index, (row, name) in enumerate(zip(rows.tolist(), names, strict=True)):
        colour, relation = about[name]
        x, y = (round(float(value), 1) for value in places[index])
        points.append(
            Point(
                row,
                opened.owner(row),
                name,
                colour,
                relation,
                x,
                y,
                first_example(opened, row),
                odd[index],
                nearest[index],
                "",
            )
        )
    points = _labelled(points)
    return Map(words, points, explained)


def project(
    senses: NDArray[np.float64], method: Method
) -> tuple[NDArray[np.float64], float | None]:
    """Return two coordinates of each sense, [n, 2], and the variance they hold (PCA only).

    A component's sign is that its largest coordinate is positive, so a picture does not flip.
    """
    centred = senses - senses.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    flat = np.zeros((len(senses), 2))
    n = min(2, len(s))
    flat[:, :n] = u[:, :n] * s[:n]
    for column in range(n):
        if flat[np.abs(flat[:, column]).argmax(), column] < 0:
            flat[:, column] *= -1
    explained = float((s[:2] ** 2).sum() / (s**2).sum()) if (s > 0).any() else 1.0
    if method == "pca" or len(senses) < 5:
        return flat, explained
    from sklearn.manifold import TSNE

    spread = max(flat[:, 0].std(), 1e-12)
    perplexity = min(30.0, (len(senses) - 1) / 4)
    embedding = TSNE(perplexity=perplexity, init=flat / spread * 1e-4, random_state=0)
    return embedding.fit_transform(senses.astype(np.float32)).astype(np.float64), None


def _members(opened: OpenDictionary, words: list[str]) -> list[tuple[str, int, str, list[int]]]:
    """Return each word on the map once: its colour, its relation and its rows."""
    members: dict[str, tuple[int, str, list[int]]] = {}
    for colour, word in enumerate(words):
        tokens = opened.queries.tokens(word)
        rows = [row for token in tokens for row in opened.rows_of_token(token)]
        members[word] = (colour, "chosen", rows or list(opened.rows_of_word(word)))
    for colour, word in enumerate(words):
        for relation in ("synonym", "antonym"):
            related = [
                pair
                for pair in opened.queries.relations(word)
                if pair["relation"] == relation
                and pair["row_start"] is not None
                and pair["row_start"] >= 0
            ]
            for pair in related[:_MAX_RELATIVES]:
                rows = list(range(pair["row_start"], pair["row_stop"]))
                members.setdefault(pair["neighbour"], (colour, relation, rows))
    return [(word, *member) for word, member in members.items()]


def _labelled(points: list[Point]) -> list[Point]:
    """Write each word at one of its points, chosen words first, where no other label stands."""
    taken: list[tuple[float, float, float]] = []
    labels: dict[int, str] = {}
    order = sorted(range(len(points)), key=lambda i: points[i].relation != "chosen")
    for index in order:
        point = points[index]
        width = (11 if point.relation == "chosen" else 9) * len(point.word) + 12
        free = all(
            abs(point.y - y) > _LABEL_HEIGHT or point.x + width < x or point.x > x + w
            for x, y, w in taken
        )
        if free and point.word not in labels.values():
            labels[index] = point.word
            taken.append((point.x, point.y, width))
    return [replace(point, label=labels.get(i, "")) for i, point in enumerate(points)]


def _odd_ones(
    opened: OpenDictionary, senses: NDArray[np.float64], names: list[str]
) -> tuple[list[tuple[str, ...]], list[bool]]:
    """Return the words nearest to each sense on the map, and whether none is related to its own.

    A sense that has no sense of another word beside it is not odd.
    """
    mse, _ = distances(senses, senses)
    related = {
        name: {pair["neighbour"] for pair in opened.queries.relations(name)} for name in set(names)
    }
    nearest, odd = [], []
    for index, name in enumerate(names):
        order = [i for i in np.argsort(mse[index], kind="stable") if names[i] != name]
        words = tuple(dict.fromkeys(names[i] for i in order))[:_N_NEAREST]
        nearest.append(words)
        odd.append(bool(words) and not related[name] & set(words))
    return nearest, odd


def fit(flat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale coordinates into the picture, both axes alike."""
    low, high = flat.min(axis=0), flat.max(axis=0)
    room = np.array([_WIDTH - 4 * _EDGE, _HEIGHT - 2 * _EDGE])
    scale = float((room / np.maximum(high - low, 1e-9)).min())
    shift = (np.array([_WIDTH, _HEIGHT]) - (high - low) * scale) / 2
    return np.asarray((flat - low) * scale + shift)
