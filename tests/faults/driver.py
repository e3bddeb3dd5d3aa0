"""A life of the pipeline: it builds what is missing and, if told to, dies on the way."""

import os
import signal
from dataclasses import dataclass
from typing import Literal

import torch

from dskd_core.artifacts import ArtifactStore, Draft
from dskd_core.config import PipelineConfig
from dskd_core.evaluation.report import build_report
from dskd_core.training import activations, capture
from tests.miniature import Built


@dataclass(frozen=True)
class Death:
    """Where a life ends.

    Attributes:
        stage: whose artifact is being made then.
        moment: ``half``, when the draft holds something and more is to come; ``written``, when it
            lacks nothing but its name; ``published``, when it has just got it.
        nth: which draft of that stage in this life.
    """

    stage: str
    moment: Literal["half", "written", "published"]
    nth: int = 1


def live(config: PipelineConfig, death: Death | None = None) -> None:
    """Build every artifact from the teacher to the report; die where ``death`` says."""
    # The tensors are so small that a second thread only gets in the way.
    torch.set_num_threads(1)
    activations._SHARD_TOKENS = capture._BATCH_TOKENS = 400
    if death:
        _await(death)
    built = Built(config)
    subjects = [(arm, seed) for seed in config.evaluation.seeds for arm in config.evaluation.arms]
    students = [built.student(arm, seed) for arm, seed in subjects]
    scores = [built.scores(student) for student in [None, *students]]
    build_report(built.store, config.evaluation, scores, students)


def _await(death: Death) -> None:
    """Put the death into the store: SIGKILL, which no ``finally`` outlives."""
    begin, path, commit = ArtifactStore._draft_folder, Draft.path, ArtifactStore._commit
    n_drafts = 0

    def die_if(stage: str, moment: str) -> None:
        if (stage, moment, n_drafts) == (death.stage, death.moment, death.nth):
            os.kill(os.getpid(), signal.SIGKILL)

    def watched_begin(store, work):
        nonlocal n_drafts
        n_drafts += work.stage == death.stage
        return begin(store, work)

    def watched_path(draft, name):
        if any(draft.folder.iterdir()):
            die_if(draft.folder.parent.name, "half")
        return path(draft, name)

    def watched_commit(store, work, draft):
        die_if(work.stage, "written")
        commit(store, work, draft)
        die_if(work.stage, "published")

    ArtifactStore._draft_folder = watched_begin
    ArtifactStore._commit = watched_commit
    Draft.path = watched_path
