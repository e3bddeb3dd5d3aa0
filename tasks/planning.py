"""A plan in the Prefect UI, before anything runs."""

from prefect import get_run_logger

from dskd_core.config import PipelineConfig
from dskd_core.markdown import escape
from tasks.policy import cpu_task
from tasks.redacted_pages import create_markdown_artifact, create_table_artifact


@cpu_task(name="plan", task_run_name="plan")
def plan(config: PipelineConfig) -> list[dict[str, str]]:
    """Plan every stage and show the tables; return the rows of the stages."""
    from dskd_core.planning.hours.hardware import SHOWN, named_gpu
    from dskd_core.planning.hours.probe import this_machine
    from dskd_core.planning.page import hour_rows, sentences, size_rows, stage_rows
    from dskd_core.planning.plan import make_plan

    devices = [*(named_gpu(name) for name in SHOWN), this_machine()]
    made = make_plan(config)
    rows = stage_rows(made)
    create_table_artifact(rows, key="plan", description="what every stage will take")
    hours = hour_rows(made, devices)
    create_table_artifact(hours, key="plan-hours", description="time on one GPU, and here")
    create_table_artifact(size_rows(made), key="plan-sizes", description="sizes of the plan")
    lines = sentences(made, devices)
    create_markdown_artifact(
        "\n".join(f"- {escape(line)}" for line in lines),
        key="plan-basis",
        description="what it rests on",
    )
    for line in lines:
        get_run_logger().info("%s", line)
    return rows
