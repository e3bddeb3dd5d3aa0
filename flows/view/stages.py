"""The stages of a run in the order they are shown in, and what a run says before it begins."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dskd_core import samples
from dskd_core.config import PipelineConfig
from dskd_core.errors import DskdError

Branch = Literal["left", "right", "joined"]

START = "start"
_OF_TASKS = {
    "student": "students",
    "benchmark-items": "benchmark items",
    "benchmark-scores": "benchmarks",
}


@dataclass(frozen=True)
class Stage:
    """One row of the view.

    Attributes:
        name: as in :class:`dskd_core.progress.StageEstimate`.
        n_tasks: tasks that make its artifacts, such as students.
        is_sharded: each of them is collected from shards.
        branch: left and right run beside each other, before all that is joined.
    """

    name: str
    n_tasks: int = 1
    is_sharded: bool = False
    branch: Branch = "joined"


def stage_named(task: str) -> str:
    """Return the name of the stage that a task, or a list of shards, belongs to.

    >>> stage_named("student"), stage_named("senses")
    ('students', 'senses')
    """
    return _OF_TASKS.get(task, task)


def stages_of(config: PipelineConfig) -> list[Stage]:
    """Return the stages that ``pipeline`` runs with these settings."""
    if config.training.mode == "precomputed":
        return [Stage(START), Stage("precomputed"), *_students(config)]
    left = [Stage("teacher", branch="left"), Stage("corpus", branch="left")]
    n_others = len(config.evaluation.other_texts)
    captured = [Stage("untrained-student"), Stage("activations", 1 + n_others, is_sharded=True)]
    captured += [Stage("other-text", n_others)] if n_others else []
    right = [Stage(name, branch="right") for name in ("lexicon", "relations", "words")]
    made = [Stage(name, is_sharded=True, branch="left") for name in ("embeddings", "senses")]
    joined = [Stage("dictionary"), *captured]
    if config.prompts.sources:
        joined[2:2] = [Stage("questions"), Stage("prompts", is_sharded=True)]
    return [Stage(START), *left, *right, *made, *joined, *_students(config)]


def _students(config: PipelineConfig) -> list[Stage]:
    evaluation = config.evaluation
    n_students = len(evaluation.arms) * len(evaluation.seeds)
    n_models = n_students + (config.training.mode != "precomputed")
    stages = [
        Stage("candidates"),
        Stage("students", n_students),
        Stage("scores", n_students + 1),
    ]
    if evaluation.other_texts:
        stages.append(Stage("other-scores", (n_students + 1) * len(evaluation.other_texts)))
    if evaluation.benchmarks:
        n_asked = len(evaluation.benchmarks) * len(evaluation.protocols)
        stages += [Stage("benchmark items", n_asked), Stage("benchmarks", n_models, True)]
    if evaluation.tagged:
        stages.append(Stage("sense-scores", n_models * len(evaluation.tagged)))
    if evaluation.n_continuations and config.training.mode != "precomputed":
        stages.append(Stage("continuations"))
    return [*stages, Stage("report")]


def what_it_does(config: PipelineConfig) -> list[tuple[str, str]]:
    """Return what a run with these settings works on, as names and values, sizes where known."""
    evaluation, training = config.evaluation, config.training
    n_students = len(evaluation.arms) * len(evaluation.seeds)
    lexicons = [*config.lexicon.sources, *config.lexicon.morphology]
    rows = [
        ("teacher", f"{config.teacher.source}{_size(config.teacher.source)}"),
        ("corpus", f"{config.corpus.source}{_size(config.corpus.source)}{_limits(config)}"),
        ("senses", f"{_senses(config)} a token, k-means by {config.senses.backend}"),
        ("lexicon", ", ".join(f"{source.uri}{_size(source.uri)}" for source in lexicons)),
        (
            "students",
            f"{n_students}: {_list('arm', evaluation.arms)}, {_list('seed', evaluation.seeds)}, "
            f"{training.n_epochs:g} epochs{_tokens(training.max_train_tokens)}",
        ),
    ]
    tests = ["held-out text", *(benchmark.task for benchmark in evaluation.benchmarks)]
    tests += [source.name or source.kind for source in evaluation.tagged]
    tests[1:1] = [text.name for text in evaluation.other_texts]
    rows.append(("scored on", ", ".join(tests)))
    if training.mode == "precomputed":  # nothing before the students is made
        rows = [row for row in rows if row[0] in {"students", "scored on"}]
    return [*rows, ("artifacts", f"under {config.root_uri}")]


def _senses(config: PipelineConfig) -> str:
    senses = config.senses
    return f"{senses.n_senses}" if senses.choice == "fixed" else f"up to {senses.max_senses}"


def _limits(config: PipelineConfig) -> str:
    corpus = config.corpus
    return f", windows of {corpus.window_tokens}{_tokens(corpus.max_tokens)}"


def _tokens(most: int | None) -> str:
    return "" if most is None else f", at most {most:,} tokens"


def _list(name: str, values: Sequence[object]) -> str:
    return f"{name}{'s' if len(values) > 1 else ''} {', '.join(map(str, values))}"


def _size(source: str) -> str:
    """Return the size of a local file; nothing for folders and what lies elsewhere."""
    with suppress(OSError, DskdError):
        path = Path(samples.resolve(source))
        if path.is_file():
            size = path.stat().st_size
            return f" ({size / 1e6:,.1f} MB)" if size >= 1e5 else f" ({size / 1e3:,.1f} kB)"
    return ""
