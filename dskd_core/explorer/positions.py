"""The held-out positions where two students differ most, and the candidates kept there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dskd_core.dictionary.store import GROUP
from dskd_core.evaluation.heldout.store import POSITIONS
from dskd_core.explorer.opened import OpenDictionary, Owner
from dskd_core.explorer.states import HeldoutWindows, Place
from dskd_core.store.arrays import get_array
from dskd_core.store.artifacts import Artifact
from dskd_core.training.candidates.store import group_name

_N_POSITIONS = 10
_N_LEFT = 28


@dataclass(frozen=True)
class Candidate:
    """A sense kept for a position: whose it is, and how far from each state.

    Attributes:
        row, owner: which sense it is.
        mses: from the teacher's state, then from those that were made.
    """

    row: int
    owner: Owner
    mses: list[float]


@dataclass(frozen=True)
class Position:
    """A held-out position on which two students differ.

    Attributes:
        left, label: the text before it, and the next token.
        predicted: of the first student, of the second.
        ce: likewise, in nats.
        positives, negatives: the candidates kept, the nearest to the teacher's state first.
        gaps: MSE from the teacher's state to itself, then to each state that was made.
    """

    left: str
    label: str
    predicted: tuple[str, str]
    ce: tuple[float, float]
    positives: list[Candidate]
    negatives: list[Candidate]
    gaps: list[float]


@dataclass(frozen=True)
class Differing:
    """The positions of two students' scores where their cross-entropies differ most.

    Attributes:
        tables: both ``positions.parquet``.
        rows: of the tables, the largest difference first.
        firsts: the first row of each one's window.
        places: where they stand among the activations.
        n_positions: of how many.
    """

    tables: Sequence[pa.Table]
    rows: list[int]
    firsts: list[int]
    places: list[Place]
    n_positions: int


def find_differing(
    opened: OpenDictionary, pair: tuple[Artifact, Artifact], *, with_antonyms: bool
) -> Differing | None:
    """Return the ten positions where two students differ most; None if their texts are others.

    Of equal differences the first position wins.

    Args:
        opened: the dictionary.
        pair: scores of both.
        with_antonyms: whether only positions count whose next token has antonyms' senses.

    Raises:
        ArtifactError: if a file is damaged.
    """
    tables = [artifact.table(POSITIONS) for artifact in pair]
    if any(not tables[0][name].equals(tables[1][name]) for name in ("window", "label")):
        return None
    ce = [table["ce"].to_numpy().astype(np.float64) for table in tables]
    counted = np.arange(len(ce[0]))
    if with_antonyms:
        offsets = get_array(opened.artifact.group(GROUP), "antonym_offsets")
        labels = tables[0]["label"].to_numpy()
        counted = counted[offsets[labels + 1] > offsets[labels]]
    gaps = np.abs(ce[1] - ce[0])[counted]
    rows = counted[np.argsort(-gaps, kind="stable")[:_N_POSITIONS]].tolist()
    windows = tables[0]["window"].to_numpy()
    firsts = [int(np.flatnonzero(windows == windows[row])[0]) for row in rows]
    places = [Place(int(windows[row]), row - at) for row, at in zip(rows, firsts, strict=True)]
    return Differing(tables, rows, firsts, places, len(counted))


def read_positions(
    opened: OpenDictionary,
    scores: Artifact,
    found: Differing,
    made: Sequence[NDArray[np.floating]],
) -> list[Position]:
    """Return positions with their text and the candidates that were kept.

    Args:
        opened: the dictionary.
        scores: of a student whose candidates they are.
        found: the positions.
        made: [n, d] each, states there besides the teacher's; may be empty.

    Raises:
        ArtifactError: if the activations have no such window, or a file is damaged.
    """
    candidates = _CandidateFinder(opened, scores)
    labels = found.tables[0]["label"].to_numpy()

    def said(row: int, name: str) -> list[int | float]:
        return [table[name][row].as_py() for table in found.tables]

    positions = []
    for index, (row, first) in enumerate(zip(found.rows, found.firsts, strict=True)):
        one, other = (opened.decode([int(token)]) for token in said(row, "predicted"))
        ce = said(row, "ce")
        kept = candidates.read(found.places[index], [states[index] for states in made])
        left = opened.decode(labels[max(first, row - _N_LEFT) : row].tolist())
        label = opened.decode([int(labels[row])])
        positions.append(Position(left, label, (one, other), (ce[0], ce[1]), *kept))
    return positions


_Kept = tuple[list[Candidate], list[Candidate], list[float]]


class _CandidateFinder:
    """The candidates kept at a position, and their distance from states there."""

    def __init__(self, opened: OpenDictionary, scores: Artifact) -> None:
        store, inputs = opened.store, scores.record.inputs
        self._opened = opened
        self._candidates = store.get("candidates", inputs["candidates"])
        self._windows = HeldoutWindows(store, store.get("activations", inputs["activations"]))

    def read(self, place: Place, made: list[NDArray[np.floating]]) -> _Kept:
        """Return positives, negatives and the MSE of each state from the teacher's.

        Args:
            place: the position.
            made: [d] each, states there besides the teacher's.
        """
        shard, _, at = self._windows.find(place)
        [teacher] = self._windows.states(shard, "teacher_states", at, at + 1)
        states = np.stack([teacher, *made]).astype(np.float64)
        group = self._candidates.group(group_name(shard))
        positives, negatives = (
            self._held_against(states, get_array(group, name, slice(at, at + 1))[0])
            for name in ("positives", "negatives")
        )
        return positives, negatives, ((states - states[0]) ** 2).mean(axis=1).tolist()

    def _held_against(
        self, states: NDArray[np.float64], rows: NDArray[np.int32]
    ) -> list[Candidate]:
        real = rows[rows >= 0].astype(np.int64)
        if not len(real):
            return []
        senses = self._opened.rows.take(real).astype(np.float64)
        mses = ((senses[:, None] - states) ** 2).mean(axis=2)
        return [
            Candidate(int(row), self._opened.owner(int(row)), of_row.tolist())
            for row, of_row in zip(real, mses, strict=True)
        ]


def mean_nearness(positions: Sequence[Position], index: int) -> list[float | None]:
    """Return the mean MSE of one state from the teacher's, the positives and the antonyms.

    A position counts once, whatever number of candidates it has; None where none has any.

    Args:
        positions: with distances.
        index: which of their states.
    """

    def near(kept: list[Candidate]) -> float:
        return float(np.mean([candidate.mses[index] for candidate in kept]))

    values = (
        [position.gaps[index] for position in positions],
        [near(position.positives) for position in positions if position.positives],
        [near(position.negatives) for position in positions if position.negatives],
    )
    return [float(np.mean(some)) if some else None for some in values]
