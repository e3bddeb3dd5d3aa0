"""Teacher and students on the five benchmarks, shard by shard."""

from collections.abc import Mapping

from dskd_core.config import PipelineConfig
from dskd_core.shards import Shard
from tasks.artifacts import opened, shown, shown_shard, store_of
from tasks.policy import cpu_task, gpu_task
from tasks.progress import key_of
from tasks.redacted_pages import create_table_artifact


@cpu_task(name="benchmark-items", task_run_name="items of {name}")
def items(config: PipelineConfig, name: str, number: int, protocol: str, model: str) -> str:
    """Write the items of one benchmark in one protocol; return their URI."""
    from dskd_core.evaluation.benchmarks.items import build_items

    benchmark = config.evaluation.benchmarks[number]
    return shown(
        f"items of {name}",
        lambda progress: build_items(
            store_of(config),
            config.evaluation,
            benchmark,
            protocol,  # type: ignore[arg-type]
            opened(model),
            progress=progress,
        ),
    )


def plan_shards(config: PipelineConfig, items: str, model: str) -> list[Shard]:
    """Return the shards the items are scored in."""
    from dskd_core.evaluation.benchmarks.store import plan_scoring

    return plan_scoring(opened(items), config.evaluation, opened(model))


@gpu_task(name="benchmark-scores", task_run_name="{name} shard {shard.name}")
def score(config: PipelineConfig, name: str, model: str, items: str, shard: Shard) -> str:
    """Score one shard of the items with one model; return the shard's URI."""
    from dskd_core.evaluation.benchmarks.store import score_shard

    return shown_shard(
        f"{name} shard {shard.name}",
        lambda progress: score_shard(
            store_of(config),
            config.evaluation,
            config.teacher,
            opened(model),
            opened(items),
            shard,
            progress=progress,
        ),
    )


@cpu_task(name="benchmark-scores", task_run_name="benchmarks of {name}")
def collect(
    config: PipelineConfig,
    name: str,
    model: str,
    items: list[str],
    made: list[str],
    trained_on: str | None,
) -> str:
    """Join the scores of one model on all benchmarks; return their URI."""
    from dskd_core.evaluation.benchmarks.store import collect_scores

    shards = [opened(uri) for uri in made]
    return shown(
        f"benchmarks of {name}",
        lambda _: collect_scores(
            store_of(config),
            config.evaluation,
            opened(model),
            [opened(uri) for uri in items],
            shards,
            trained_on=opened(trained_on) if trained_on else None,
        ),
        shards=shards,
    )


def show(scores: Mapping[str, str]) -> None:
    """Show the scores of all models in one table.

    Args:
        scores: the URI of each model's scores, by its name.
    """
    rows = []
    for name, uri in scores.items():
        for row in opened(uri).record.report["accuracies"]:
            rows.append({"model": name} | row)
    create_table_artifact(
        rows, key=key_of("benchmarks"), description="benchmarks: score of every model, 0 to 1"
    )
