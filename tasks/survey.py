"""What a configuration lacks under its root, found from the artifacts alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefect import get_run_logger

from dskd_core.config import PipelineConfig
from dskd_core.progress import silent
from dskd_core.sharded_stages import SHARDED_STAGES, ShardedStage
from dskd_core.store.artifacts import Artifact
from dskd_core.store.read_only_store import NotMade, ReadOnlyStore
from tasks.policy import cpu_task
from tasks.redacted_pages import create_table_artifact

_SAID = {"untrained": "untrained student"}


@dataclass(frozen=True)
class Shards:
    """The shards of one stage.

    Attributes:
        stage: its name.
        done: URIs of the published shards by name.
        missing: names of the others.
        collected: URI of the artifact they are collected in; None if it is not there.
        waits_for: the stage whose artifact is needed before this one's shards can be known.
        inputs: URIs of what the shards are made from.
    """

    stage: str
    done: Mapping[str, str] = field(default_factory=dict)
    missing: Sequence[str] = ()
    collected: str | None = None
    waits_for: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether nothing of the stage is missing."""
        return not (self.waits_for or self.missing or self.collected is None)

    def row(self) -> dict[str, Any]:
        """Return the stage as a row of a table."""
        if self.waits_for:
            return {"stage": self.stage, "shards": None, "done": None, "missing": None} | {
                "state": f"not started: there is no {self.waits_for} yet"
            }
        state = "collected" if self.collected else "to be collected"
        return {
            "stage": self.stage,
            "shards": len(self.done) + len(self.missing),
            "done": len(self.done),
            "missing": ", ".join(self.missing) or "none",
            "state": state,
        }


@cpu_task(name="survey", task_run_name="survey")
def survey(config: PipelineConfig) -> list[Shards]:
    """Look which shards of every stage are published; nothing is made."""
    stages = survey_of(config)
    rows = [stage.row() for stage in stages]
    create_table_artifact(rows, key="missing-shards", description="shards: done and missing")
    for row in rows:
        get_run_logger().info("%s", ", ".join(f"{k} {v}" for k, v in row.items() if v is not None))
    return stages


def survey_of(config: PipelineConfig) -> list[Shards]:
    """Return the stages that are made shard by shard, each with what it has and what it lacks."""
    store, stages = ReadOnlyStore(config.root_uri), list[Shards]()
    without_teacher = config.training.mode == "precomputed"
    found = {} if without_teacher else _made_whole(store, config)
    for stage in SHARDED_STAGES:
        if not stage.is_part_of(config):
            continue
        stages.append(_survey(stage, store, config, found))
        if uri := stages[-1].collected:
            found[stage.name] = store.open(uri)
    return stages


def _made_whole(store: ReadOnlyStore, config: PipelineConfig) -> dict[str, Artifact]:
    """Find what the sharded stages are made from and is itself made in one piece."""
    from dskd_core.corpus.store import build_corpus
    from dskd_core.embeddings.teacher import prepare_teacher
    from dskd_core.prompts.store import build_questions
    from dskd_core.training.student.shape import prepare_student

    teacher = _found(prepare_teacher, store, config.teacher, progress=silent)
    if teacher is None:
        return {}
    found = {
        "teacher": teacher,
        "corpus": _found(build_corpus, store, config.corpus, teacher, progress=silent),
        "untrained": _found(prepare_student, store, config.student, config.teacher, teacher),
    }
    if config.prompts.sources:
        questions = _found(build_questions, store, config.prompts, teacher, progress=silent)
        found["questions"] = questions
    return {name: artifact for name, artifact in found.items() if artifact}


def _survey(
    stage: type[ShardedStage],
    store: ReadOnlyStore,
    config: PipelineConfig,
    found: Mapping[str, Artifact],
) -> Shards:
    """Look for every shard of a stage, and for what they are collected in."""
    text = "prompts" if config.prompts.sources else "corpus"
    places = {name: text if name == "text" else name for name in stage.needs}
    if absent := [place for place in places.values() if place not in found]:
        return Shards(stage.name, waits_for=_SAID.get(absent[0], absent[0]))
    inputs = {name: found[place] for name, place in places.items()}
    described = stage(store, config, inputs)
    shards = {
        f"{stage.name} shard {shard.name}": _found(described.make, shard, silent)
        for shard in described.shards()
    }
    made = {name: shard for name, shard in shards.items() if shard is not None}
    collected = _found(described.collect, list(made.values()), silent) if made else None
    return Shards(
        stage.name,
        done={name: shard.uri for name, shard in made.items()},
        missing=[name for name in shards if name not in made],
        collected=collected.uri if collected else None,
        inputs={name: artifact.uri for name, artifact in inputs.items()},
    )


def _found(build: Callable[..., Artifact], *arguments: Any, **named: Any) -> Artifact | None:
    """Return what a function of the core finds; None where it would have to make it."""
    try:
        return build(*arguments, **named)
    except NotMade:
        return None
