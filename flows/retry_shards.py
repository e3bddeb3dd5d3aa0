"""The shards that are missing, and nothing else: from artifacts alone, whatever Prefect knows."""

from typing import Any

from prefect import get_run_logger

from dskd_core.config import PipelineConfig
from dskd_core.errors import DskdError
from flows.beginning import begin
from flows.flow import DEFAULTS, dskd_flow
from flows.sharded import make_sharded
from tasks import survey, whole
from tasks.sharded import TASKS
from tasks.shards import ShardError


@dskd_flow("retry shards of {config.teacher.source}")
def retry_shards(config: PipelineConfig = DEFAULTS) -> list[dict[str, Any]]:
    """Make the missing shards of every stage whose inputs are there, and collect them.

    Nothing is asked of Prefect's database: what a stage lacks is what its fingerprints do not
    find under the root. A stage that waits for another one is not started; the table says so.

    Args:
        config: the settings of all stages, the same as those of the run that failed.

    Returns:
        One row a stage, as it stands at the end.
    """
    config = begin(config)
    refused: list[Exception] = []
    for stage in survey.survey.submit(config).result():
        if stage.is_whole:
            continue
        if stage.waits_for:
            get_run_logger().warning("%s: %s", stage.stage, stage.row()["state"])
            continue
        try:
            _make(config, stage)
        except (DskdError, ShardError) as error:  # of one stage: the others are made all the same
            refused.append(error)
    if refused:
        raise refused[0]
    return [stage.row() for stage in survey.survey.submit(config).result()]


def _make(config: PipelineConfig, stage: survey.Shards) -> None:
    if stage.stage in TASKS:
        make_sharded(config, stage.stage, dict(stage.inputs), stage.done)
    else:  # the lexicon's one task reads its shards itself, and finds those that stand
        whole.lexicon.submit(config).result()
