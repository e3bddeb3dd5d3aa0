"""What training did to the students of a dictionary, from what their scores left.

Nothing runs for that, neither the teacher nor a student: scores have means over all held-out
positions, and the cross-entropy at each. The states of students at single positions are made by
:mod:`dskd_core.explorer.states`, when they are asked for.
"""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dskd_core.config import TrainingConfig
from dskd_core.config.recipes import SENSE_TERMS
from dskd_core.errors import ArtifactError, DataError
from dskd_core.evaluation.comparison.arms import (
    BASELINE,
    arm_and_seed,
    arm_order,
    leading_arm,
    sort_arms,
)
from dskd_core.evaluation.heldout.store import POSITIONS
from dskd_core.evaluation.report.labels import NAMES, count
from dskd_core.explorer.opened import OpenDictionary
from dskd_core.explorer.positions import (
    Position,
    find_differing,
    mean_nearness,
    read_positions,
)
from dskd_core.explorer.states import BEFORE, Place
from dskd_core.store.artifacts import Artifact
from dskd_core.training.losses.recipes import Recipe

_MEANS = (
    "ce", "state_mse", "own_synonym_mse", "antonym_mse", "synonym_nearer",
)  # fmt: skip
_WEIGHTS = ("kl_weight", "state_weight", "positive_weight", "negative_weight")
_MADE_FROM = ("untrained-student", "activations", "candidates")


@dataclass(frozen=True)
class Choice:
    """What a reader wants compared; what is empty is chosen for him.

    Attributes:
        baseline, arm: two arms; KD, and the one that stands for all others.
        among: ``antonyms`` for positions alone whose next token has antonyms' senses.
    """

    baseline: str = ""
    arm: str = ""
    among: str = ""


@dataclass(frozen=True)
class Model:
    """A scored model and its means over held-out positions, None where it has none."""

    name: str
    means: list[float | None]


@dataclass
class Training:
    """The scored models of a dictionary, and the positions where two of them differ most.

    Attributes:
        models: with their means.
        positions: where the two arms differ most.
        n_positions: of how many.
        notes: what is not known, and why.
        every_arm: each arm that has students, and its name.
        choice: what is compared.
        arms: the names of both.
        seed: of both.
        objectives: what each of both minimised, in a sentence.
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
    notes: list[str] = field(default_factory=list)
    every_arm: dict[str, str] = field(default_factory=dict)
    choice: Choice = field(default_factory=Choice)
    arms: tuple[str, str] = ("", "")
    seed: int | None = None
    objectives: list[str] = field(default_factory=list)
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
            (name, mean_nearness(self.positions, index)) for index, name in enumerate(self.states)
        ]


Run = Callable[[Training], Sequence[NDArray[np.floating]]]


def read_training(opened: OpenDictionary, choice: Choice, run: Run) -> Training:
    """Return what the scores of a dictionary's students say.

    Args:
        opened: the dictionary.
        choice: which students are compared, and where.
        run: returns the states of :func:`run_students` at the positions; where it returns none,
            candidates are held against the teacher's alone.

    Raises:
        ArtifactError: if a file of theirs is damaged.
        DataError: if no students of the arms chosen were scored.
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
    students = {one.fingerprint: _student(opened, one) for one in scores}
    training.models = _models(scores, students)
    arms = [arm for arm in sort_arms(map(arm_and_seed, scores)) if arm != "teacher"]
    training.every_arm = {arm: NAMES[arm] for arm in arms}
    training.choice = _chosen(choice, arms)
    training.pair = _pair(scores, students, training.choice)
    training.scored = (training.pair or scores)[0]
    if len({_made_from(one) for one in scores}) > 1:
        training.notes.append(
            "The models were scored as parts of several runs, on other text or with other "
            "students: compare those of one run."
        )
    if training.pair is None:
        other = NAMES[training.choice.arm] if training.choice.arm else "another arm"
        training.notes.append(
            f"Positions are not compared: no seed was scored with {NAMES[training.choice.baseline]}"
            f" and {other} in one run."
        )
        return training
    training.seed = arm_and_seed(training.pair[0])[1]
    _say_whom(training, [students[one.fingerprint] for one in training.pair])
    _compare_positions(opened, training, training.pair, run)
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


def _student(opened: OpenDictionary, scores: Artifact) -> Artifact | None:
    """Return the student that was scored; None for the teacher, and for one that was deleted."""
    try:
        return opened.store.get("student", scores.record.inputs.get("student", "none"))
    except ArtifactError:
        return None


def _steps(student: Artifact | None) -> int | None:
    return None if student is None else student.record.counts.get("steps")


def _made_from(scores: Artifact) -> tuple[str, ...]:
    return tuple(scores.record.inputs[stage] for stage in _MADE_FROM)


def _models(scores: list[Artifact], students: dict[str, Artifact | None]) -> list[Model]:
    """Return the models by name, which has the steps where students trained for other numbers."""
    steps = {one.fingerprint: _steps(students[one.fingerprint]) for one in scores}
    differ = len({n for n in steps.values() if n is not None}) > 1
    models = []
    for one in scores:
        (arm, seed), n = arm_and_seed(one), steps[one.fingerprint]
        name = NAMES[arm] if seed is None else f"{NAMES[arm]}, seed {seed}"
        if differ and n is not None:
            name = f"{name}, {count(n, 'step')}"
        means = one.record.report["means"]
        models.append(Model(name, [means.get(key) for key in _MEANS]))
    return models


def _chosen(choice: Choice, arms: list[str]) -> Choice:
    """Return what is compared where a reader left it open.

    Raises:
        DataError: if he names an arm that has no students, or the same one twice.
    """
    for arm in filter(None, (choice.baseline, choice.arm)):
        if arm not in arms:
            raise DataError(
                f"No students of the arm {arm!r} were scored; choose among {', '.join(arms)}."
            )
    baseline = choice.baseline or BASELINE
    others = [arm for arm in arms if arm != baseline]
    arm = choice.arm or leading_arm(others) or next(iter(others), "")
    if arm == baseline:
        raise DataError(f"The arm {arm!r} cannot be compared with itself; choose another one.")
    return Choice(baseline, arm, choice.among)


def _pair(
    scores: list[Artifact], students: dict[str, Artifact | None], choice: Choice
) -> tuple[Artifact, Artifact] | None:
    """Return the scores of both arms of one run, with the lowest seed that both have.

    Of several runs the last counts.
    """

    def run_of(one: Artifact) -> tuple[Any, ...]:
        return (arm_and_seed(one)[1], _made_from(one), _steps(students[one.fingerprint]))

    whole = [one for one in scores if POSITIONS in one.record.files]
    first, second = (
        {
            run_of(one): one
            for one in sorted(whole, key=lambda one: one.record.created_at)
            if arm_and_seed(one)[0] == arm
        }
        for arm in (choice.baseline, choice.arm)
    )
    both = [run for run in first if run in second]
    if not both:
        return None
    run = min(reversed(both), key=lambda run: run[0] or 0)
    return first[run], second[run]


def _say_whom(training: Training, students: Sequence[Artifact | None]) -> None:
    """Name both arms, and what each minimised where its record is there."""
    training.arms = (NAMES[training.choice.baseline], NAMES[training.choice.arm])
    terms = [_terms(student) if student else [] for student in students]
    starts = [student.record.config.get("start") if student else None for student in students]
    for name, of_arm, start in zip(training.arms, terms, starts, strict=True):
        if of_arm:
            fitted = ", from a fitted start" if start == "fitted" else ""
            training.objectives.append(f"{name} minimised {' + '.join(of_arm)}{fitted}.")
    if "fitted" in starts:
        training.objectives.append("What the fit did counts as training here.")
    if all(terms) and not any(term in SENSE_TERMS for of_arm in terms for term in of_arm):
        training.objectives.append(
            "Neither has a term that reads senses: distances to them show where it went by itself."
        )


def _terms(student: Artifact) -> list[str]:
    """Return the terms of a student's objective, as its record has them."""
    config, arm = student.record.config, student.record.report["arm"]
    if "recipe" in config:
        return [term["term"] for term in config["recipe"] if term["weight"]]
    weights = {key: config[key] for key in _WEIGHTS if key in config}
    recipe = Recipe.from_config(TrainingConfig(**weights), arm, 0.0)
    return [term.term for term in recipe.terms if term.weight]


def _compare_positions(
    opened: OpenDictionary, training: Training, pair: tuple[Artifact, Artifact], run: Run
) -> None:
    with_antonyms = training.choice.among == "antonyms"
    found = find_differing(opened, pair, with_antonyms=with_antonyms)
    if found is None:
        training.notes.append("Positions are not compared: the arms were scored on other text.")
        return
    if not found.rows:
        training.notes.append("No held-out position has a next token with antonyms' senses.")
        return
    training.n_positions, training.places = found.n_positions, found.places
    made = run(training)
    if len(made):
        training.states += [BEFORE, *training.arms]
    training.positions = read_positions(opened, pair[1], found, made)
