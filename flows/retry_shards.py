"""The shards that are missing, and nothing else: from artifacts alone, whatever Prefect knows."""

from prefect import flow

from dskd_core.config import PipelineConfig
from flows.runner import DEFAULTS, threads
from tasks import missing


@flow(name="dskd", flow_run_name="retry shards of {config.teacher.source}", task_runner=threads())
def retry_shards(config: PipelineConfig = DEFAULTS) -> list[dict[str, str]]:
    """Show which shards of every stage are missing.

    Args:
        config: the settings of all stages, the same as those of the run that failed.

    Returns:
        One row a stage: its shards, those that are done, those that are missing.
    """
    return missing.survey.submit(config).result()
