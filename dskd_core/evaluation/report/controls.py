"""Which arm is another's control: the same recipe, made with the relations of other tokens or none.

A recipe's name says nothing of this, so it is read from what its students were trained with.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from dskd_core.evaluation.comparison.arms import arm_order
from dskd_core.evaluation.report.labels import CONTROLS
from dskd_core.store.artifacts import Artifact, ArtifactStore


@dataclass(frozen=True)
class Control:
    """An arm, and the same arm without the dictionary's relations.

    Attributes:
        arm: trained with the dictionary's relations.
        baseline: its control.
        words: what their difference shows.
    """

    arm: str
    baseline: str
    words: str


def find_controls(store: ArtifactStore, students: Sequence[Artifact]) -> list[Control]:
    """Return every arm that has its control among the students, in the order of the tables."""
    relations = {c.fingerprint: c.record.config["relations"] for c in store.of_stage("candidates")}
    alike: dict[str, dict[str, str]] = {}
    for student in students:
        if whose := relations.get(student.record.inputs.get("candidates", "")):
            alike.setdefault(_recipe(student), {})[whose] = student.record.report["arm"]
    found = {
        Control(arms["dictionary"], arm, CONTROLS[f"paper_{whose}"])
        for arms in alike.values()
        for whose, arm in arms.items()
        if whose != "dictionary" and "dictionary" in arms
    }
    return sorted(found, key=lambda pair: (arm_order(pair.arm), arm_order(pair.baseline)))


def _recipe(student: Artifact) -> str:
    """Return all that a student was trained with but its name, its seed and its relations."""
    config = {k: v for k, v in student.record.config.items() if k not in ("arm", "seed")}
    inputs = {k: v for k, v in student.record.inputs.items() if k != "candidates"}
    return json.dumps([config, inputs], sort_keys=True)
