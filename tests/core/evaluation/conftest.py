"""The miniature pipeline with a student of each arm and seed, and their scores."""

import pytest

from dskd_core.store.artifacts import Artifact
from tests.miniature import Built, make

STUDENTS = [(arm, seed) for arm in ("kd", "paper", "kd_mse") for seed in (0, 1)]


class Scored(Built):
    """A miniature whose students are scored as they are asked for."""

    def score(self, arm: str, seed: int = 0) -> Artifact:
        return self.scores(None if arm == "teacher" else self.student(arm, seed))


@pytest.fixture(scope="package")
def miniature(tmp_path_factory) -> Scored:
    return Scored(make(tmp_path_factory.mktemp("evaluation"), corpus={"heldout_share": 0.4}))


@pytest.fixture(scope="package")
def students(miniature) -> dict[tuple[str, int], Artifact]:
    return {subject: miniature.student(*subject) for subject in STUDENTS}
