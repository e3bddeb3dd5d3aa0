"""What training did to the students of a dictionary, from what their scores left.

Nothing runs here: neither the teacher nor a student. So a student's own state at one position is
not known, only its means over all held-out positions, and its cross-entropy at each.
"""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dskd_core.decoder.states import decode_states
from dskd_core.evaluation.comparison.arms import BASELINE, arm_and_seed, leading_arm
from dskd_core.evaluation.heldout.store import POSITIONS
from dskd_core.evaluation.report.labels import NAMES
from dskd_core.explorer.opened import OpenDictionary, Owner
from dskd_core.store.arrays import get_array
from dskd_core.store.artifacts import Artifact
from dskd_core.training.activations.layout import PART
from dskd_core.training.candidates.store import part_name

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
    """A row that training pulled to or pushed from: whose it is, and MSE(m_t, row)."""

    row: int
    owner: Owner
    mse: float


@dataclass(frozen=True)
class Position:
    """A held-out position on which two students differ.

    Attributes:
        left, label: the text before it, and the next token.
        predicted: of KD, of the leading arm.
        ce: of KD, of the leading arm, in nats.
        positives, negatives: the candidates kept, the nearest to the teacher's state first.
    """

    left: str
    label: str
    predicted: tuple[str, str]
    ce: tuple[float, float]
    positives: list[Candidate]
    negatives: list[Candidate]


@dataclass
class Training:
    """The scored models of a dictionary, where two of them differ most, and what is not known."""

    models: list[Model] = field(default_factory=list)
    positions: list[Position] = field(default_factory=list)
    n_positions: int = 0
    arms: tuple[str, str] = ("", "")
    notes: list[str] = field(default_factory=list)


def read_training(opened: OpenDictionary) -> Training:
    """Return what the scores of a dictionary's students say.

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
        return training
    order = list(NAMES)
    scores.sort(key=lambda a: (order.index(arm_and_seed(a)[0]), arm_and_seed(a)[1] or 0))
    training.models = [_model(artifact) for artifact in scores]
    training.notes.append(
        "A student's own state at one position is not stored, nor are the means of a student "
        "before training: the table has the means after it, and the teacher's for comparison."
    )
    pair = _pair_of_students(scores)
    if pair is None:
        training.notes.append(
            "Positions are not compared: no seed was scored with KD and another arm."
        )
        return training
    _compare_positions(opened, training, *pair)
    return training


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
    opened: OpenDictionary, training: Training, baseline: Artifact, arm: Artifact
) -> None:
    tables = [artifact.table(POSITIONS) for artifact in (baseline, arm)]
    if any(not tables[0][name].equals(tables[1][name]) for name in ("window", "label")):
        training.notes.append("Positions are not compared: the arms were scored on other text.")
        return
    ce = [table["ce"].to_numpy() for table in tables]
    gaps = np.abs(ce[1].astype(np.float64) - ce[0])
    training.n_positions = len(gaps)
    training.arms = (NAMES[BASELINE], NAMES[arm_and_seed(arm)[0]])
    rows = np.lexsort((np.arange(len(gaps)), -gaps))[:_N_POSITIONS]
    reader = _CandidateFinder(opened, arm)
    training.positions = [_position(opened, tables, int(row), reader) for row in rows]


def _position(
    opened: OpenDictionary, tables: list[pa.Table], row: int, reader: "_CandidateFinder"
) -> Position:
    windows, labels = (tables[0][name].to_numpy() for name in ("window", "label"))
    first = (
        int(np.searchsorted(windows, windows[row]))
        if _rises(windows)
        else int(np.flatnonzero(windows == windows[row])[0])
    )
    before = labels[max(first, row - _N_LEFT) : row]
    positives, negatives = reader.read(int(windows[row]), row - first)
    return Position(
        opened.decode(before.tolist()),
        opened.decode([int(labels[row])]),
        tuple(opened.decode([int(t["predicted"][row].as_py())]) for t in tables),  # type: ignore[arg-type]
        tuple(float(t["ce"][row].as_py()) for t in tables),  # type: ignore[arg-type]
        positives,
        negatives,
    )


def _rises(windows: NDArray[np.int32]) -> bool:
    return bool((np.diff(windows) >= 0).all())


class _CandidateFinder:
    """The candidates kept at a position, and their distance from the teacher's state there."""

    def __init__(self, opened: OpenDictionary, scores: Artifact) -> None:
        store, inputs = opened.store, scores.record.inputs
        self._opened = opened
        self._candidates = store.get("candidates", inputs["candidates"])
        names = store.get("activations", inputs["activations"]).record.report["parts"]
        self._parts = [store.get("activations-shard", name).group(PART) for name in names]

    def read(self, window: int, scored: int) -> tuple[list[Candidate], list[Candidate]]:
        """Return positives and negatives of the scored position of a window, counted from 0."""
        for number, part in enumerate(self._parts):
            windows = get_array(part, "windows")
            index = int(np.searchsorted(windows, window))
            if index == len(windows) or windows[index] != window:
                continue
            start, stop = (int(v) for v in get_array(part, "offsets")[index : index + 2])
            labels = get_array(part, "labels", slice(start, stop))
            at = start + int(np.flatnonzero(labels >= 0)[scored])
            bits = get_array(part, "teacher_states", slice(at, at + 1))
            state = decode_states(bits, str(part.attrs["dtype"]))[0]
            group = self._candidates.group(part_name(number))
            positives, negatives = (
                self._held_against(state, get_array(group, name, slice(at, at + 1))[0])
                for name in ("positives", "negatives")
            )
            return positives, negatives
        return [], []

    def _held_against(self, state: NDArray[np.float32], rows: NDArray[np.int32]) -> list[Candidate]:
        real = rows[rows >= 0].astype(np.int64)
        if not len(real):
            return []
        senses = self._opened.rows.take(real).astype(np.float64)
        mses = ((senses - state) ** 2).mean(axis=1)
        return [
            Candidate(int(row), self._opened.owner(int(row)), float(mse))
            for row, mse in zip(real, mses, strict=True)
        ]
