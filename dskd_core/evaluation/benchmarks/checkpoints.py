"""Any checkpoint on all benchmarks, in one process."""

from itertools import product
from pathlib import Path

from dskd_core.config import EvaluationConfig, TeacherConfig
from dskd_core.embeddings.teacher import prepare_teacher
from dskd_core.errors import ConfigError
from dskd_core.evaluation.benchmarks.items import build_items
from dskd_core.evaluation.benchmarks.store import (
    collect_scores,
    plan_scoring,
    score_shard,
)
from dskd_core.progress import Progress, silent
from dskd_core.store.artifacts import RECORD, Artifact, ArtifactStore


def open_checkpoint(store: ArtifactStore, config: TeacherConfig, place: str) -> Artifact:
    """Return what is to be scored: an artifact, or a checkpoint an artifact will point at.

    ``place`` is the URI of a teacher's or student's artifact, a transformers folder or a hub id.
    """
    if place.startswith("s3://") or (Path(place) / RECORD).exists():
        return store.open(place)
    return prepare_teacher(store, config.model_copy(update={"source": place}))


def score_checkpoint(
    store: ArtifactStore,
    config: EvaluationConfig,
    teacher_config: TeacherConfig,
    model: Artifact,
    *,
    progress: Progress = silent,
) -> Artifact:
    """Score one model on all benchmarks in all protocols; what is done already is found.

    Raises:
        ConfigError: if no benchmark is named.
    """
    if not config.benchmarks:
        raise ConfigError("evaluation.benchmarks is empty; name at least one benchmark.")
    items, parts = [], []
    for benchmark, protocol in product(config.benchmarks, config.protocols):
        made = build_items(store, config, benchmark, protocol, model, progress=progress)
        items.append(made)
        shards = plan_scoring(made, config, model)
        for number, shard in enumerate(shards, start=1):
            title = f"{benchmark.task} {protocol}, part {number} of {len(shards)}"
            told = _titled(progress, title)
            part = score_shard(store, config, teacher_config, model, made, shard, progress=told)
            parts.append(part)
    return collect_scores(store, config, model, items, parts)


def _titled(progress: Progress, title: str) -> Progress:
    """Return a progress whose units say what they are of."""

    def told(n_done: int, n_total: int, unit: str, **measures: float) -> None:
        progress(n_done, n_total, f"{unit} ({title})", **measures)

    return told
