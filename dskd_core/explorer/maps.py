"""A map: the senses of some words and of their relatives in two dimensions."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dskd_core.errors import DataError
from dskd_core.explorer.opened import OpenDictionary, Owner
from dskd_core.explorer.pairs import distances
from dskd_core.explorer.projection import principal_axes
from dskd_core.explorer.words import Example, first_examples

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


@dataclass(frozen=True)
class Layout:
    """Which senses a map has, before they are placed.

    Attributes:
        words: the chosen ones.
        members: each word on the map once, with its colour, its relation and its rows.
        rows: of all of them, end to end.
        axes: [n, at most 50], the senses on their principal axes, the longest first.
        explained: share of the variance on the first two.
        nearest: of each sense, the words nearest to it here.
        odd: whether none of them is related to its word.
    """

    words: list[str]
    members: list["Member"]
    rows: list[int]
    axes: NDArray[np.float64]
    explained: float
    nearest: list[tuple[str, ...]]
    odd: list[bool]


@dataclass(frozen=True)
class Member:
    """A word on the map: the number of the chosen word it belongs to, and why it is there."""

    word: str
    colour: int
    relation: str
    rows: list[int]


def lay_out(opened: OpenDictionary, words: list[str]) -> Layout:
    """Gather the senses of some words, and of their heaviest synonyms and antonyms.

    Args:
        opened: the dictionary.
        words: as the lexicon writes them, at most eight.

    Raises:
        DataError: if there are too many words, they have no senses, or a chunk is damaged.
    """
    if len(words) > MAX_WORDS:
        raise DataError(f"A map has at most {MAX_WORDS} words, not {len(words)}; leave some out.")
    members = _members(opened, words)
    rows = [row for member in members for row in member.rows]
    if not rows:
        raise DataError(f"None of {', '.join(words)} has senses; choose words of the corpus.")
    senses = opened.rows.take(np.array(rows, np.int64)).astype(np.float64)
    axes, explained = principal_axes(senses)
    names = [member.word for member in members for _ in member.rows]
    nearest, odd = _odd_ones(opened, senses, names)
    return Layout(words, members, rows, axes, explained, nearest, odd)


def draw(opened: OpenDictionary, layout: Layout, flat: NDArray[np.float64] | None = None) -> Map:
    """Draw a map, by PCA or where something else has placed the senses, [n, 2]."""
    places = fit(layout.axes[:, :2] if flat is None else flat)
    of_rows = [member for member in layout.members for _ in member.rows]
    texts = first_examples(opened, layout.rows)
    points = [
        Point(
            row,
            opened.owner(row),
            member.word,
            member.colour,
            member.relation,
            round(float(x), 1),
            round(float(y), 1),
            texts.get(row),
            is_odd,
            nearest,
            "",
        )
        for row, member, (x, y), is_odd, nearest in zip(
            layout.rows, of_rows, places, layout.odd, layout.nearest, strict=True
        )
    ]
    return Map(layout.words, labelled(points), layout.explained if flat is None else None)


def _members(opened: OpenDictionary, words: list[str]) -> list[Member]:
    """Return each word on the map once."""
    members: dict[str, tuple[int, str, list[int]]] = {}
    for colour, word in enumerate(words):
        tokens = opened.queries.tokens(word)
        rows = [row for token in tokens for row in opened.rows_of_token(token)]
        members[word] = (colour, "chosen", rows or list(opened.rows_of_word(word)))
    related = opened.related(words)
    for colour, word in enumerate(words):
        for relation in ("synonym", "antonym"):
            chosen = [r for r in related[word] if r.relation == relation and r.rows]
            for one in chosen[:_MAX_RELATIVES]:
                members.setdefault(one.word, (colour, relation, list(one.rows)))
    return [Member(word, *member) for word, member in members.items()]


def labelled(points: list[Point]) -> list[Point]:
    """Write each word once: chosen words first, over the fewest points, beside other labels."""
    taken: list[tuple[float, float, float]] = []
    labels: dict[int, str] = {}
    xs, ys = np.array([[point.x, point.y] for point in points]).reshape(-1, 2).T

    def n_covered(point: Point) -> int:
        right = point.x + _label_width(point)
        under = (xs > point.x) & (xs < right) & (np.abs(ys - point.y) < _LABEL_HEIGHT / 2)
        return int(under.sum())

    words = {word: i for i, word in enumerate(dict.fromkeys(point.word for point in points))}
    order = [(point.relation != "chosen", words[point.word], n_covered(point)) for point in points]
    for index in sorted(range(len(points)), key=order.__getitem__):
        point = points[index]
        width = _label_width(point)
        free = all(
            abs(point.y - y) > _LABEL_HEIGHT or point.x + width < x or point.x > x + w
            for x, y, w in taken
        )
        if free and point.word not in labels.values():
            labels[index] = point.word
            taken.append((point.x, point.y, width))
    return [replace(point, label=labels.get(i, "")) for i, point in enumerate(points)]


def _label_width(point: Point) -> int:
    return (11 if point.relation == "chosen" else 9) * len(point.word) + 12


def _odd_ones(
    opened: OpenDictionary, senses: NDArray[np.float64], names: list[str]
) -> tuple[list[tuple[str, ...]], list[bool]]:
    """Return the words nearest to each sense on the map, and whether none is related to its own.

    A sense that has no sense of another word beside it is not odd.
    """
    mse, _ = distances(senses, senses)
    related = {
        name: {relative.word for relative in found}
        for name, found in opened.related(set(names)).items()
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
