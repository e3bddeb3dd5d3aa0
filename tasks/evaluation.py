"""The students on held-out text, and how they compare."""

from prefect import task

from dskd_core.config import PipelineConfig
from tasks.artifacts import opened, show_report, shown, store_of
from tasks.policy import CPU, GPU
from tasks.training import Places, inputs_of


@task(name="scores", task_run_name="scores {subject}", **GPU)
def scores(config: PipelineConfig, places: Places, subject: str, student: str | None) -> str:
    """Score one student, or the teacher itself if ``student`` is None; return the scores' URI."""
    from dskd_core.evaluation.scores import score_student

    return shown(
        f"scores {subject}",
        lambda progress: score_student(
            store_of(config),
            config.training,
            config.teacher,
            inputs_of(places),
            opened(student) if student else None,
            progress=progress,
        ),
    )


@task(name="report", task_run_name="report", **CPU)
def report(config: PipelineConfig, scores: list[str], students: list[str]) -> str:
    """Compare teacher and students; return the report's URI."""
    from dskd_core.evaluation.report import build_report

    uri = shown(
        "report",
        lambda progress: build_report(
            store_of(config),
            config.evaluation,
            [opened(score) for score in scores],
            [opened(student) for student in students],
            progress=progress,
        ),
    )
    show_report(opened(uri))
    return uri
