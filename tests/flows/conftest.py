"""A stand-in for the core: the same functions, each publishing a tiny artifact in no time.

Flows and tasks are tested against it, so their tests say what the orchestration does and nothing
about the mathematics. ``calls`` lists every call in order; ``broken`` maps the name of a function
to the exceptions its next calls raise.
"""

import sys
from collections import defaultdict
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dskd_core.shards import Shard
from dskd_core.store.artifacts import Artifact, ArtifactStore, Work
from dskd_core.training.loop.inputs import Inputs

N_SHARDS = 3
Functions = dict[str, dict[str, Callable[..., Any]]]
"""Module of the core: name of a function: its stand-in."""


class Core:
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.made: list[str] = []
        self.broken: dict[str, list[Exception]] = defaultdict(list)

    def artifact(
        self, stage: str, store: ArtifactStore, *inputs, call: str | None = None, **config
    ):
        call = call or stage
        self.calls.append(call)
        if self.broken[call]:
            raise self.broken[call].pop(0)
        names = {f"input_{i}": a.fingerprint for i, a in enumerate(inputs) if a is not None}
        work = Work(stage, config, names)
        if found := store.find(work):
            return found
        with store.publish(work) as draft:
            self.made.append(call)
            draft.write_json("content.json", {"stage": stage, **config})
            draft.counts["rows"] = 7
            if stage == "report":
                draft.path("report.md").write_text("# Report\n")
                draft.report["table"] = [{"subject": "teacher", "ce": 3.5}]
        return store.find(work)

    def shards(self, corpus, config) -> list[Shard]:
        return [Shard(i, N_SHARDS, i, i + 1) for i in range(N_SHARDS)]


@pytest.fixture
def core(monkeypatch) -> Core:
    """Put the stand-in where tasks look for the core."""
    core = Core()
    core.functions = _functions(core)
    for name, members in core.functions.items():
        module = ModuleType(f"dskd_core.{name}")
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return core


def _functions(core: Core) -> Functions:
    return _left_branch(core) | _right_branch(core) | _training(core) | _evaluation(core)


def _left_branch(core: Core) -> Functions:
    make = core.artifact
    return {
        "embeddings.teacher": {
            "prepare_teacher": lambda store, c, *, progress: make("teacher", store),
            "in_other_precisions": lambda store, c: [],
        },
        "corpus.store": {
            "build_corpus": lambda store, c, teacher, *, progress: make("corpus", store, teacher),
        },
        "embeddings.store": {
            "plan_shards": core.shards,
            "extract_shard": lambda store, e, t, teacher, corpus, shard, *, progress: make(
                "embeddings-shard",
                store,
                corpus,
                call=f"embeddings {shard.name}",
                shard=shard.index,
            ),
            "collect_embeddings": lambda store, e, teacher, corpus, parts: make(
                "embeddings", store, corpus, *parts
            ),
        },
        "senses.store": {
            "plan_ranges": lambda embeddings, store, c: core.shards(embeddings, c),
            "cluster_range": lambda store, s, embeddings, corpus, shard, *, progress: make(
                "senses-shard", store, embeddings, call=f"senses {shard.name}", shard=shard.index
            ),
            "collect_senses": lambda store, s, embeddings, corpus, teacher, parts, *, progress: (
                make("senses", store, embeddings, *parts)
            ),
        },
    }


def _right_branch(core: Core) -> Functions:
    make = core.artifact
    return {
        "lexicon.store": {
            "build_lexicon": lambda store, c, *, progress: make(
                "lexicon", store, language=c.language
            ),
            "find_sources": lambda c: {"lexicon_pairs.parquet": [SimpleNamespace(ranges=[(0, 1)])]},
            "read_shard": lambda store, c, entry, index, advance: make("lexicon-shard", store),
        },
        "relations.tables": {
            "build_relations": lambda store, c, lexicon, *, progress: make(
                "relations", store, lexicon
            ),
        },
        "words.store": {
            "build_words": lambda store, c, relations, teacher, *, progress: make(
                "words", store, relations, teacher
            ),
        },
        "dictionary.store": {
            "build_dictionary": lambda store, c, senses, words, corpus, *, progress: make(
                "dictionary", store, senses, words, corpus
            ),
        },
    }


def _training(core: Core) -> Functions:
    make = core.artifact
    return {
        "training.student.shape": {
            "prepare_student": lambda store, s, t, teacher: make(
                "untrained-student", store, teacher
            ),
        },
        "planning.capacity": {"check_step": lambda training, t, untrained, text: None},
        "training.candidates.store": {
            "check_same_teacher": lambda store, untrained, dictionary: None,
            "margin_sentence": lambda candidates, t: "a margin",
            "select_candidates": lambda store, t, activations, d, *, relations, progress: make(
                "candidates", store, activations, d
            ),
        },
        "training.loop.inputs": {"Inputs": Inputs},
        "training.activations.store": {
            "resolve_mode": lambda t, untrained, text: "cached",
            "capture_shards": lambda text, t, mode: core.shards(text, t),
            "capture_shard": lambda store, t, tc, teacher, u, text, mode, shard, *, progress: make(
                "activations-shard",
                store,
                text,
                call=f"activations {shard.name}",
                shard=shard.index,
            ),
            "collect_activations": lambda store, t, untrained, text, mode, parts: make(
                "activations", store, text, *parts
            ),
        },
        "training.loop.loop": {"train_student": _train_student(core)},
    }


def _evaluation(core: Core) -> Functions:
    make = core.artifact
    return {
        "evaluation.heldout.store": {
            "score_student": lambda store, t, tc, inputs, student, *, progress: make(
                "scores", store, inputs.activations, student
            ),
            "score_other_text": lambda store, t, tc, inputs, student, name, other, *, progress: (
                make("other-scores", store, other, student, text=name)
            ),
        },
        "evaluation.other_texts": {
            "build_other_text": lambda store, c, corpus, teacher, read, *, progress: make(
                "other-text", store, teacher, *read, name=c.name
            ),
            "capture_settings": lambda config: config,
        },
        "evaluation.continuations": {
            "write_continuations": lambda store, n, tc, corpus, models, *, progress: make(
                "continuations", store, corpus, *models
            ),
        },
        "evaluation.report.store": {
            "build_report": lambda store, c, scores, students, *, beside, progress: make(
                "report", store, *scores, *students, *beside
            ),
            "costs_as_markdown": lambda report: "costs",
        },
    }


def _train_student(core: Core):
    def train_student(store, t, tc, inputs, *, arm, seed, progress) -> Artifact:
        for step in range(1, 4):
            progress(step, 3, "steps", loss=1.0 / step, ce=2.0)
        return core.artifact(
            "student", store, inputs.candidates, call=f"student {arm} {seed}", arm=arm, seed=seed
        )

    return train_student
