"""What training did to the students of a dictionary, from what their scores left.

Nothing runs for that, neither the teacher nor a student: scores have means over all held-out
positions, and the cross-entropy at each. The states of students at single positions are made by
:mod:`dskd_core.explorer.states`, when they are asked for.
"""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dskd_core.evaluation.comparison.arms import (
    BASELINE,
    arm_and_seed,
    arm_order,
    leading_arm,
)
from dskd_core.evaluation.heldout.store import POSITIONS
from dskd_core.evaluation.report.labels import NAMES
from dskd_core.explorer.opened import OpenDictionary, Owner
from dskd_core.explorer.states import BEFORE, HeldoutWindows, Place
from dskd_core.store.arrays import get_array
from dskd_core.store.artifacts import Artifact
from dskd_core.training.candidates.store import group_name

_N_POSITIONS = 10
_N_LEFT = 28
_MEANS = (
    "ce", "state_mse", "own_synonym_mse", "antonym_mse", "synonym_nearer",
)  # fmt: skip


@dataclass(frozen=True)
class Model:
    """A scored model and its means over held-out positions, None where it has none."""

    name: str
    means: list[float | None]


@dataclass(frozen=True)
class Candidate:
    """A row that training pulled to or pushed from: whose it is, and how far from each state.

    Attributes:
        row, owner: which sense it is.
        mses: from the states of :attr:`Training.states`, in their order.
    """

    row: int
    owner: Owner
    mses: list[float]


@dataclass(frozen=True)
class Position:
    """A held-out position on which two students differ.

    Attributes:
        left, label: the text before it, and the next token.
        predicted: of KD, of the leading arm.
        ce: of KD, of the leading arm, in nats.
        positives, negatives: the candidates kept, the nearest to the teacher's state first.
        gaps: MSE from the teacher's state to each of :attr:`Training.states`, the first being it.
    """

    left: str
    label: str
    predicted: tuple[str, str]
    ce: tuple[float, float]
    positives: list[Candidate]
    negatives: list[Candidate]
    gaps: list[float]


@dataclass
class Training:
    """The scored models of a dictionary, and the positions where two of them differ most.

    Attributes:
        models: with their means.
        positions: where KD and the leading arm differ most.
        n_positions: of how many.
        notes: what is not known, and why.
        arms: the names of both.
        pair: the scores of both.
        scored: the scores of which the student before training is held against the same; None
            where nothing was scored.
        places: of ``positions``.
        states: whose states the candidates are held against: the teacher's, and once they were
            made those of the student before training, and after it in both arms.
    """

    models: list[Model] = field(default_factory=list)
    positions: list[Position] = field(default_factory=list)
    n_positions: int = 0
    arms: tuple[str, str] = ("", "")
    notes: list[str] = field(default_factory=list)
    pair: tuple[Artifact, Artifact] | None = None
    scored: Artifact | None = None
    places: list[Place] = field(default_factory=list)
    states: list[str] = field(default_factory=lambda: ["teacher"])

    def add_before(self, means: dict[str, float]) -> None:
        """Put the student before training in front of the students, behind the teacher."""
        if means:
            place = sum(model.name == NAMES["teacher"] for model in self.models)
            model = Model("student before training", [means.get(key) for key in _MEANS])
            self.models.insert(place, model)

    def means(self) -> list[tuple[str, list[float | None]]]:
        """Return, of each of ``states``, its mean MSE to the teacher, the positives, the negatives.

        A position counts once, whatever number of candidates it has; None where none has any.
        """
        return [
            (
                name,
                [
                    _mean([position.gaps[index] for position in self.positions]),
                    _mean([_nearness(p.positives, index) for p in self.positions if p.positives]),
                    _mean([_nearness(p.negatives, index) for p in self.positions if p.negatives]),
                ],
            )
            for index, name in enumerate(self.states)
        ]


def _nearness(candidates: list[Candidate], index: int) -> float:
    return float(np.mean([candidate.mses[index] for candidate in candidates]))


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def read_training(
    opened: OpenDictionary, run: Callable[[Training], Sequence[NDArray[np.floating]]]
) -> Training:
    """Return what the scores of a dictionary's students say.

    Args:
        opened: the dictionary.
        run: returns the states of :func:`run_students` at the positions; where it returns none,
            candidates are held against the teacher's alone.

    Raises:
        ArtifactError: if a file of theirs is damaged.
    """
    scores = [
        artifact
        for artifact in opened.store.of_stage("scores")
        if artifact.record.inputs.get("dictionary") == opened.artifact.fingerprint
    ]
    training = Training()
    if not scores:
        training.notes.append(
            "No student of this dictionary was scored under this root; run dskd run, or the "
            "deployments dskd/train and dskd/evaluate."
        )
        training.notes += _scored_elsewhere(opened)
        return training
    scores.sort(key=lambda a: (arm_order(arm_and_seed(a)[0]), arm_and_seed(a)[1] or 0))
    training.models = [_model(artifact) for artifact in scores]
    training.pair = _pair_of_students(scores)
    training.scored = (training.pair or scores)[0]
    made = ("untrained-student", "activations", "candidates")
    if len({tuple(one.record.inputs[stage] for stage in made) for one in scores}) > 1:
        training.notes.append(
            "The models were scored as parts of several runs, on other text or with other "
            "students: compare those of one run."
        )
    if training.pair is None:
        training.notes.append(
            "Positions are not compared: no seed was scored with KD and another arm."
        )
        return training
    _compare_positions(opened, training, *training.pair, run)
    return training


def _scored_elsewhere(opened: OpenDictionary) -> list[str]:
    """Say which other dictionaries of the root have students that were scored."""
    scored = {scores.record.inputs.get("dictionary") for scores in opened.store.of_stage("scores")}
    root = shlex.quote(opened.store.root_uri)
    return [
        f"Students of {other.fingerprint} were: dskd explore {root} "
        f"--dictionary {other.fingerprint} shows them."
        for other in opened.store.of_stage("dictionary")
        if other.fingerprint in scored
    ]


def _model(artifact: Artifact) -> Model:
    arm, seed = arm_and_seed(artifact)
    means = artifact.record.report["means"]
    name = NAMES[arm] if seed is None else f"{NAMES[arm]}, seed {seed}"
    return Model(name, [means.get(key) for key in _MEANS])


def _pair_of_students(scores: list[Artifact]) -> tuple[Artifact, Artifact] | None:
    """Return the scores of KD and of the leading arm with the lowest seed that both have."""
    by_name = {arm_and_seed(artifact): artifact for artifact in scores}
    leading = leading_arm(arm for arm, _ in by_name)
    seeds = sorted(
        seed
        for arm, seed in by_name
        if arm == leading and seed is not None and (BASELINE, seed) in by_name
    )
    pairs = [(by_name[BASELINE, seed], by_name[leading or "", seed]) for seed in seeds]
    whole = [pair for pair in pairs if all(POSITIONS in a.record.files for a in pair)]
    return whole[0] if whole else None


def _compare_positions(
    opened: OpenDictionary,
    training: Training,
    baseline: Artifact,
    arm: Artifact,
    run: Callable[[Training], Sequence[NDArray[np.floating]]],
) -> None:
    tables = [artifact.table(POSITIONS) for artifact in (baseline, arm)]
    if any(not tables[0][name].equals(tables[1][name]) for name in ("window", "label")):
        training.notes.append("Positions are not compared: the arms were scored on other text.")
        return
    ce = [table["ce"].to_numpy() for table in tables]
    gaps = np.abs(ce[1].astype(np.float64) - ce[0])
    training.n_positions = len(gaps)
    training.arms = (NAMES[BASELINE], NAMES[arm_and_seed(arm)[0]])
    rows = np.lexsort((np.arange(len(gaps)), -gaps))[:_N_POSITIONS].tolist()
    windows = tables[0]["window"].to_numpy()
    firsts = [int(np.flatnonzero(windows == windows[row])[0]) for row in rows]
    training.places = [
        Place(int(windows[row]), row - first) for row, first in zip(rows, firsts, strict=True)
    ]
    made = run(training)
    if len(made):
        training.states += [BEFORE, *training.arms]
    reader = _CandidateFinder(opened, arm)
    for index, (row, first, place) in enumerate(zip(rows, firsts, training.places, strict=True)):
        found = reader.read(place, [states[index] for states in made])
        training.positions.append(_position(opened, tables, row, first, found))


def _position(
    opened: OpenDictionary, tables: list[pa.Table], row: int, first: int, found: "_Found"
) -> Position:
    labels = tables[0]["label"].to_numpy()
    return Position(
        opened.decode(labels[max(first, row - _N_LEFT) : row].tolist()),
        opened.decode([int(labels[row])]),
        tuple(opened.decode([int(t["predicted"][row].as_py())]) for t in tables),  # type: ignore[arg-type]
        tuple(float(t["ce"][row].as_py()) for t in tables),  # type: ignore[arg-type]
        *found,
    )


_Found = tuple[list[Candidate], list[Candidate], list[float]]


class _CandidateFinder:
    """The candidates kept at a position, and their distance from states there."""

    def __init__(self, opened: OpenDictionary, scores: Artifact) -> None:
        store, inputs = opened.store, scores.record.inputs
        self._opened = opened
        self._candidates = store.get("candidates", inputs["candidates"])
        self._windows = HeldoutWindows(store, store.get("activations", inputs["activations"]))

    def read(self, place: Place, made: list[NDArray[np.floating]]) -> _Found:
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
