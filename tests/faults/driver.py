"""A life of the pipeline: it builds what is missing and, if told to, dies on the way."""

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from dskd_core.config import PipelineConfig
from dskd_core.embeddings.store import extract_shard, plan_shards
from dskd_core.evaluation.report.store import build_report
from dskd_core.progress import silent
from dskd_core.senses.store import cluster_range, plan_ranges
from dskd_core.sharded_stages import LexiconStage
from dskd_core.store import artifacts
from dskd_core.store.artifacts import ArtifactStore, Draft
from dskd_core.training.activations import capture, store
from dskd_core.training.activations.store import capture_shard, capture_shards
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


def live(config: PipelineConfig, death: Death | None = None, words: Path | None = None) -> None:
    """Build every artifact from the teacher to the report.

    Args:
        config: of a miniature.
        death: where to die.
        words: a file for the last words of a life that ends with an exception.
    """
    try:
        _live(config, death)
    except Exception as error:
        if words:
            words.write_text(f"{type(error).__name__}: {error}", "utf-8")
        raise


def live_in_the_past(config: PipelineConfig, seconds: float) -> None:
    """Build what is missing while the clock of this process is behind by so many seconds.

    That of the disk is right: so it is with a folder of another machine.
    """
    now = time.time

    class Behind(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.fromtimestamp(now() - seconds, tz)

    time.time = lambda: now() - seconds
    artifacts.datetime = Behind
    _live(config, None)


def make_shards(config: PipelineConfig, stage: str, seed: int, share: tuple[int, int]) -> None:
    """Make shards of a stage in an order of their own.

    Args:
        config: of a miniature; what the stage reads is made first.
        stage: embeddings, senses, activations or lexicon.
        seed: of the order; 0 is the reverse one.
        share: (i, n): every n-th shard from the i-th on.
    """
    _settle()
    makers = _SHARDS[stage](Built(config))[share[0] :: share[1]][::-1]
    if seed:
        random.Random(seed).shuffle(makers)
    for make in makers:
        make()


def _settle() -> None:
    # The tensors are so small that a second thread only gets in the way.
    torch.set_num_threads(1)
    store.SHARD_TOKENS = capture.BATCH_TOKENS = 400


def _embeddings_shards(built: Built) -> list[Callable[[], object]]:
    config, inputs = built.config, (built.teacher(), built.corpus())
    settings = (built.store, config.embeddings, config.teacher)
    shards = plan_shards(inputs[1], config.embeddings)
    return [partial(extract_shard, *settings, *inputs, shard) for shard in shards]


def _senses_shards(built: Built) -> list[Callable[[], object]]:
    config, inputs = built.config.senses, (built.embeddings(), built.corpus())
    ranges = plan_ranges(inputs[0], built.store, config)
    return [partial(cluster_range, built.store, config, *inputs, shard) for shard in ranges]


def _activations_shards(built: Built) -> list[Callable[[], object]]:
    config, text, mode = built.config, built.corpus(), built.mode()
    inputs = (config.training, config.teacher, built.teacher(), built.untrained(), text, mode)
    shards = capture_shards(text, config.training, mode)
    return [partial(capture_shard, built.store, *inputs, shard) for shard in shards]


def _lexicon_shards(built: Built) -> list[Callable[[], object]]:
    stage = LexiconStage(built.store, built.config, {})
    return [partial(stage.make, shard, silent) for shard in stage.shards()]


_SHARDS = {
    "embeddings": _embeddings_shards,
    "senses": _senses_shards,
    "activations": _activations_shards,
    "lexicon": _lexicon_shards,
}


def _live(config: PipelineConfig, death: Death | None) -> None:
    _settle()
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

    def watched_commit(_store, uri, draft, hold):
        stage = uri.rsplit("/", 2)[1]
        die_if(stage, "written")
        commit(uri, draft, hold)
        die_if(stage, "published")

    ArtifactStore._draft_folder = watched_begin
    ArtifactStore._commit = watched_commit
    Draft.path = watched_path
