"""Arms and seeds: how a scored model is named, and what every comparison of two arms holds."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from dskd_core.evaluation.comparison.statistics import Comparison, decide_verdict
from dskd_core.store.artifacts import Artifact

ARMS = (
    "teacher",
    "kd",
    "paper",
    "recommended",
    "kd_mse",
    "paper_own",
    "paper_shuffled",
    "paper_no_hinge",
)
BASELINE = "kd"
"""The arm that every other one is compared with."""
LEADING = ("recommended", "paper")
"""Arms that stand for all others where one is shown: the first of them that is there."""
ArmSeed = tuple[str, int | None]
"""The name of a scored model: its arm and its seed. The teacher has no seed."""


def arm_and_seed(artifact: Artifact) -> ArmSeed:
    """Return the arm and the seed of a student, or of the model that some scores are of."""
    report = artifact.record.report
    report = report.get("model", report)
    return report["arm"], report["seed"]


def sort_arms(models: Iterable[ArmSeed]) -> list[str]:
    """Return the arms of some models in the order of the tables.

    >>> sort_arms([("paper", 0), ("kd", 0), ("kd", 1)])
    ['kd', 'paper']
    """
    return sorted({arm for arm, _ in models}, key=arm_order)


def arm_order(arm: str) -> tuple[int, str]:
    """Return where an arm stands in tables: the built-in ones first, then others by name.

    >>> sorted(["mine", "paper", "a", "teacher"], key=arm_order)
    ['teacher', 'paper', 'a', 'mine']
    """
    return (ARMS.index(arm), "") if arm in ARMS else (len(ARMS), arm)


def leading_arm(arms: Iterable[str]) -> str | None:
    """Return the arm that is shown beside KD and compared with the others; None if KD is alone.

    >>> leading_arm(["teacher", "kd", "mine", "paper"]), leading_arm(["kd", "mine"])
    ('paper', 'mine')
    """
    found = [arm for arm in arms if arm not in ("teacher", BASELINE)]
    return next((arm for arm in LEADING if arm in found), found[0] if found else None)


def sort_seeds(models: Iterable[ArmSeed], arm: str) -> list[int]:
    """Return the seeds of an arm, ascending; the teacher has none.

    >>> sort_seeds([("kd", 1), ("kd", 0), ("paper", 2), ("teacher", None)], "kd")
    [0, 1]
    """
    return sorted(seed for name, seed in models if name == arm and seed is not None)


@dataclass(frozen=True)
class ArmPair:
    """Two arms compared over the seeds that both have.

    The comparison is arm minus baseline.
    """

    arm: str
    baseline: str
    seeds: tuple[int, ...]
    comparison: Comparison

    @property
    def direction(self) -> Literal["lower", "higher", "none"]:
        """Which values are better."""
        return "higher"

    @property
    def verdict(self) -> str:
        """In words: better and worse only where both intervals exclude zero."""
        return decide_verdict(self.comparison, len(self.seeds), self.direction)

    @property
    def is_decided(self) -> bool:
        """Whether the arm is better or worse."""
        return self.verdict in ("better", "worse")
