"""What a configuration lacks under its root, found from the artifacts alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefect import get_run_logger

from dskd_core.config import PipelineConfig
from dskd_core.progress import silent
from dskd_core.shards import Shard
from dskd_core.store.artifacts import Artifact
from dskd_core.store.read_only_store import Lookup, NotMade
from tasks.policy import cpu_task
from tasks.redacted_pages import create_table_artifact


@dataclass(frozen=True)
class Shards:
    """The shards of one stage.

    Attributes:
        stage: its name.
        done: URIs of the published shards by name; those of the lexicon, which its task reads one
            by one, have none.
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
    from dskd_core.corpus.store import build_corpus
    from dskd_core.embeddings.teacher import prepare_teacher

    store = Lookup(config.root_uri)
    lexicon = _lexicon(store, config)
    if config.training.mode == "precomputed":  # where the teacher never was
        return [lexicon]
    teacher = _found(prepare_teacher, store, config.teacher, progress=silent)
    if teacher is None:
        waiting = ["embeddings", "senses", "activations"]
        return [lexicon, *(Shards(stage, waits_for="teacher") for stage in waiting)]
    corpus = _found(build_corpus, store, config.corpus, teacher, progress=silent)
    text, prompts = corpus, []
    if config.prompts.sources:
        text, prompts = _prompts(store, config, teacher)
    activations = _activations(store, config, teacher, text)
    if corpus is None:
        stages = [Shards(stage, waits_for="corpus") for stage in ("embeddings", "senses")]
    else:
        stages = _embeddings_and_senses(store, config, teacher, corpus)
    return [lexicon, *stages, *prompts, activations]


def _found(build: Callable[..., Artifact], *arguments: Any, **named: Any) -> Artifact | None:
    """Return what a function of the core finds; None where it would have to make it."""
    try:
        return build(*arguments, **named)
    except NotMade:
        return None


def _shards(
    stage: str,
    shards: Sequence[Shard],
    find: Callable[[Shard], Artifact | None],
    collect: Callable[[list[Artifact]], Artifact | None],
    **inputs: Artifact | str,
) -> Shards:
    """Look for every shard of a stage, and for what they are collected in."""
    found = {f"{stage} shard {shard.name}": find(shard) for shard in shards}
    parts = {name: part for name, part in found.items() if part is not None}
    collected = collect(list(parts.values())) if parts else None
    return Shards(
        stage,
        done={name: part.uri for name, part in parts.items()},
        missing=[name for name in found if name not in parts],
        collected=collected.uri if collected else None,
        inputs={n: a if isinstance(a, str) else a.uri for n, a in inputs.items()},
    )


def _lexicon(store: Lookup, config: PipelineConfig) -> Shards:
    from dskd_core.lexicon.store import build_lexicon, shards_done

    collected = _found(build_lexicon, store, config.lexicon, progress=silent)
    are_done = shards_done(store, config.lexicon)
    named = {f"lexicon shard {i} of {len(are_done)}": done for i, done in enumerate(are_done)}
    return Shards(
        "lexicon",
        done={name: "" for name, done in named.items() if done},
        missing=[name for name, done in named.items() if not done],
        collected=collected.uri if collected else None,
    )


def _embeddings_and_senses(
    store: Lookup,
    config: PipelineConfig,
    teacher: Artifact,
    corpus: Artifact,
) -> list[Shards]:
    from dskd_core.senses.store import cluster_range, collect_senses, plan_ranges

    first = _embeddings(store, config, teacher, corpus)
    if not first.is_whole:
        return [first, Shards("senses", waits_for="embeddings")]
    embeddings = store.open(str(first.collected))
    second = _shards(
        "senses",
        plan_ranges(embeddings, store, config.senses),
        lambda shard: _found(
            cluster_range, store, config.senses, embeddings, corpus, shard, progress=silent
        ),
        lambda parts: _found(
            collect_senses,
            store,
            config.senses,
            embeddings,
            corpus,
            teacher,
            parts,
            progress=silent,
        ),
        teacher=teacher,
        corpus=corpus,
        embeddings=embeddings,
    )
    return [first, second]


def _embeddings(
    store: Lookup,
    config: PipelineConfig,
    teacher: Artifact,
    corpus: Artifact,
) -> Shards:
    from dskd_core.embeddings.store import collect_embeddings, extract_shard, plan_shards

    wanted = config.embeddings
    return _shards(
        "embeddings",
        plan_shards(corpus, wanted),
        lambda shard: _found(
            extract_shard,
            store,
            wanted,
            config.teacher,
            teacher,
            corpus,
            shard,
            progress=silent,
        ),
        lambda parts: _found(collect_embeddings, store, wanted, teacher, corpus, parts),
        teacher=teacher,
        corpus=corpus,
    )


def _prompts(
    store: Lookup, config: PipelineConfig, teacher: Artifact
) -> tuple[Artifact | None, list[Shards]]:
    from dskd_core.prompts.store import (
        answer_shard,
        build_questions,
        collect_prompts,
        plan_prompts,
    )

    wanted = config.prompts
    questions = _found(build_questions, store, wanted, teacher, progress=silent)
    if questions is None:
        return None, [Shards("prompts", waits_for="questions")]
    found = _shards(
        "prompts",
        plan_prompts(questions, wanted),
        lambda shard: _found(
            answer_shard, store, wanted, config.teacher, teacher, questions, shard, progress=silent
        ),
        lambda parts: _found(collect_prompts, store, wanted, teacher, questions, parts),
        teacher=teacher,
        questions=questions,
    )
    return (store.open(found.collected) if found.collected else None), [found]


def _activations(
    store: Lookup, config: PipelineConfig, teacher: Artifact, text: Artifact | None
) -> Shards:
    from dskd_core.training.activations.store import (
        capture_shard,
        capture_shards,
        collect_activations,
        resolve_mode,
    )
    from dskd_core.training.student.shape import prepare_student

    if text is None:
        return Shards("activations", waits_for="prompts" if config.prompts.sources else "corpus")
    untrained = _found(prepare_student, store, config.student, config.teacher, teacher)
    if untrained is None:
        return Shards("activations", waits_for="untrained student")
    wanted = config.training
    mode = resolve_mode(wanted, untrained, text)
    return _shards(
        "activations",
        capture_shards(text, wanted, mode),
        lambda shard: _found(
            capture_shard,
            store,
            wanted,
            config.teacher,
            teacher,
            untrained,
            text,
            mode,
            shard,
            progress=silent,
        ),
        lambda parts: _found(collect_activations, store, wanted, untrained, text, mode, parts),
        teacher=teacher,
        untrained=untrained,
        text=text,
        mode=mode,
    )
