"""A random teacher with a chat template, and a few rows of each benchmark in its authors' form."""

import csv
import json
from dataclasses import dataclass

import pytest

from dskd_core.config import BenchmarkConfig, EvaluationConfig, TeacherConfig
from dskd_core.embeddings.teacher import prepare_teacher
from dskd_core.evaluation.benchmarks.harness import lines
from dskd_core.evaluation.benchmarks.items import build_items
from dskd_core.evaluation.benchmarks.store import (
    collect_scores,
    plan_scoring,
    score_shard,
)
from dskd_core.store.artifacts import Artifact, ArtifactStore
from tests.core.prompts.conftest import write_teacher

THINGS = ["tin", "wood", "stone", "cork", "iron", "wool", "salt", "wax", "clay"]


@dataclass
class Bench:
    """A model, the files of the five benchmarks, and their scores as they are asked for."""

    folder: object
    teacher: Artifact
    teacher_config: TeacherConfig

    def benchmark(self, task, **changes):
        values = {"task": task, "uri": str(self.folder / PLACES[task]), "n_exemplars": 2}
        if task == "squad":
            values |= {"n_exemplars": 1, "answer_tokens": 4}
        return BenchmarkConfig(**values | changes)

    def config(self, *tasks, protocols=("paper",), shard=4000, **changes):
        return EvaluationConfig(
            benchmarks=[self.benchmark(task, **changes) for task in tasks],
            protocols=protocols,
            benchmark_batch_tokens=700,
            benchmark_shard_tokens=shard,
        )

    def scores(self, root, config, *, order=1, **options):
        store = ArtifactStore(str(root))
        items = self.items(root, config)
        parts = [
            score_shard(store, config, self.teacher_config, self.teacher, made, shard)
            for made in items
            for shard in plan_scoring(made, config, self.teacher)[::order]
        ]
        return collect_scores(store, config, self.teacher, items, parts, **options)

    def items(self, root, config):
        store = ArtifactStore(str(root))
        return [
            build_items(store, config, benchmark, protocol, self.teacher)
            for benchmark in config.benchmarks
            for protocol in config.protocols
        ]


PLACES = {
    "arc": "ARC-Challenge-Test.jsonl",
    "commonsense_qa": "dev_rand_split.jsonl",
    "mmlu": "mmlu/test",
    "piqa": "valid.jsonl",
    "squad": "dev-v2.0.json",
}


def choice_row(number, labels, key, *, stem="Which of these floats"):
    texts = [f"{THINGS[(number + i) % len(THINGS)]} {number}" for i in range(len(labels))]
    choices = [{"label": c, "text": text} for c, text in zip(labels, texts, strict=True)]
    row = {"id": f"q{number}", "question": {"stem": f"{stem}, {number}?", "choices": choices}}
    return row | ({"answerKey": key} if key else {})


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def write_mmlu(folder):
    for part, n in (("dev", 3), ("test", 6)):
        (folder / part).mkdir(parents=True)
        for subject, shift in (("anatomy", 0), ("virology", 100)):
            rows = [
                [f"Name {part} {i + shift}:", *(f"{t}{i}" for t in THINGS[:4]), "ABCD"[i % 4]]
                for i in range(n)
            ]
            with (folder / part / f"{subject}_{part}.csv").open("w", newline="") as file:
                csv.writer(file).writerows(rows)


def squad_questions(paragraph):
    found = [
        {"id": f"s{paragraph}-{i}", "question": f"Where, {i}?", "is_impossible": False}
        | {"answers": [{"text": f"river {paragraph}", "answer_start": 0}]}
        for i in range(2)
    ]
    return [
        *found,
        {"id": f"s{paragraph}-n", "question": "Why?", "answers": [], "is_impossible": True},
    ]


def write_files(folder):
    """Write the items: three and five choices, keys in numbers, an unpublished answer."""
    write_lines(
        folder / PLACES["arc"],
        [
            *(choice_row(i, "ABCD", "ABCD"[i % 4]) for i in range(6)),
            choice_row(6, "123", "2"),
            choice_row(7, "ABCDE", "E"),
            choice_row(8, "ABC", None),
        ],
    )
    five = [choice_row(20 + i, "ABCDE", "ABCDE"[i % 5], stem="What holds") for i in range(7)]
    write_lines(folder / PLACES["commonsense_qa"], [*five, choice_row(30, "ABCD", "A")])
    write_mmlu(folder / "mmlu")
    goals = [
        {"goal": f"Dry cup {i} ", "sol1": f"{THINGS[i]} towel ", "sol2": f"Use {THINGS[i]}."}
        for i in range(6)
    ]
    write_lines(folder / PLACES["piqa"], goals)
    (folder / "valid-labels.lst").write_text("".join(f"{i % 2}\n" for i in range(6)))
    paragraphs = [
        {"context": f"Town {p} lies on river {p}. ", "qas": squad_questions(p)} for p in range(3)
    ]
    articles = {"data": [{"title": "Old_towns", "paragraphs": paragraphs}]}
    (folder / PLACES["squad"]).write_text(json.dumps(articles))


@pytest.fixture(scope="session")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmarks")
    write_teacher(folder / "teacher")
    write_files(folder)
    config = TeacherConfig(source=str(folder / "teacher"), dtype="float32", device="cpu")
    teacher = prepare_teacher(ArtifactStore(str(folder / "artifacts")), config)
    return Bench(folder, teacher, config)


@pytest.fixture(scope="session", autouse=True)
def short_answers():
    """Let lines have 8 tokens, 3 of them with the batch: a random model never ends by itself."""
    from lm_eval.models.huggingface import HFLM

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HFLM, "max_gen_toks", 8)
        patch.setattr(lines, "LINE_TOKENS", (3, 8))
        yield


@pytest.fixture(scope="session")
def scored(bench, tmp_path_factory):
    """All five benchmarks in both protocols."""
    config = bench.config(*PLACES, protocols=("paper", "harness"))
    return bench.scores(tmp_path_factory.mktemp("scored"), config)
