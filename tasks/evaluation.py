"""The students on held-out text, and how they compare."""

from collections.abc import Sequence
from typing import Any

from dskd_core.config import PipelineConfig
from tasks.artifacts import opened, show_page, shown, shown_on_gpu, store_of
from tasks.policy import cpu_task, gpu_task
from tasks.training import InputUris

Points = dict[str, PipelineConfig]
"""The settings of every point of a sweep, by name."""


@gpu_task(name="scores", task_run_name="scores {subject}")
def scores(config: PipelineConfig, inputs: InputUris, subject: str, student: str | None) -> str:
    """Score one student, or the teacher itself if ``student`` is None; return the scores' URI."""
    from dskd_core.evaluation.heldout.store import score_student

    return shown_on_gpu(
        f"scores {subject}",
        lambda progress: score_student(
            store_of(config),
            config.training,
            config.teacher,
            inputs.opened(),
            opened(student) if student else None,
            progress=progress,
        ),
    )


@cpu_task(name="other-text", task_run_name="other text {name}")
def other_text(
    config: PipelineConfig, name: str, number: int, teacher: str, read: Sequence[str]
) -> str:
    """Read and cut the ``number``-th other text; return its URI.

    Args:
        config: the text's source and the windows' length.
        name: of the text.
        number: its place in the settings.
        teacher: whose tokenizer cuts it.
        read: the texts whose documents are left out.
    """
    from dskd_core.evaluation.other_texts import build_other_text

    return shown(
        f"other text {name}",
        lambda progress: build_other_text(
            store_of(config),
            config.evaluation.other_texts[number],
            config.corpus,
            opened(teacher),
            [opened(text) for text in read],
            progress=progress,
        ),
    )


def capture_settings(config: PipelineConfig) -> PipelineConfig:
    """Return settings with which the teacher's activations of other texts are captured."""
    from dskd_core.evaluation.other_texts import capture_settings

    return capture_settings(config)


@gpu_task(name="other-scores", task_run_name="scores on {text} of {subject}")
def other_scores(
    config: PipelineConfig,
    inputs: InputUris,
    subject: str,
    student: str | None,
    text: str,
    activations: str,
) -> str:
    """Score one student, or the teacher, on text of another domain; return the scores' URI."""
    from dskd_core.evaluation.heldout.store import score_other_text

    return shown_on_gpu(
        f"scores on {text} of {subject}",
        lambda progress: score_other_text(
            store_of(config),
            config.training,
            config.teacher,
            inputs.opened(),
            opened(student) if student else None,
            text,
            opened(activations),
            progress=progress,
        ),
    )


@gpu_task(name="continuations", task_run_name="continuations")
def continuations(config: PipelineConfig, corpus: str, models: list[str]) -> str:
    """Let models continue beginnings of held-out documents; return the continuations' URI."""
    from dskd_core.evaluation.continuations import write_continuations

    return shown_on_gpu(
        "continuations",
        lambda progress: write_continuations(
            store_of(config),
            config.evaluation.n_continuations,
            config.teacher,
            opened(corpus),
            [opened(model) for model in models],
            progress=progress,
        ),
    )


@cpu_task(name="report", task_run_name="report")
def report(
    config: PipelineConfig, scores: list[str], students: list[str], beside: Sequence[str] = ()
) -> str:
    """Compare teacher and students; return the report's URI.

    Args:
        config: level of the intervals and number of resamples.
        scores: on held-out text, of the teacher and every student.
        students: themselves.
        beside: their scores on benchmarks, on words with known senses and on other text, and how
            they continue text.
    """
    from dskd_core.evaluation.report.store import build_report, costs_as_markdown

    uri = shown(
        "report",
        lambda progress: build_report(
            store_of(config),
            config.evaluation,
            [opened(score) for score in scores],
            [opened(student) for student in students],
            beside=[opened(artifact) for artifact in beside],
            progress=progress,
        ),
    )
    show_page("report", opened(uri), "report.md", costs_as_markdown(opened(uri)))
    return uri


def points(config: PipelineConfig, grid: dict[str, list[Any]], design: str) -> Points:
    """Return the settings of every point of a sweep, by what differs; refuse a wrong one first."""
    from dskd_core.evaluation.ablation.grid import expand_grid

    return {point.name: point.config for point in expand_grid(config, grid, design)}


@cpu_task(name="sweep", task_run_name="sweep")
def sweep(config: PipelineConfig, settings: Sequence[str], scores: dict[str, list[str]]) -> str:
    """Compare the points of a sweep; return its URI.

    Args:
        config: of the base.
        settings: what the grid varies, whose values of the base the page says.
        scores: of every point, by its name.
    """
    from dskd_core.evaluation.ablation.grid import base_values
    from dskd_core.evaluation.ablation.store import PAGE, build_sweep

    uri = shown(
        "sweep",
        lambda _: build_sweep(
            store_of(config),
            config.evaluation,
            base_values(config, settings),
            {name: [opened(score) for score in of_point] for name, of_point in scores.items()},
        ),
    )
    show_page("sweep", opened(uri), PAGE)
    return uri
