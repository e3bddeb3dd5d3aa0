"""What a configuration will take, said before anything runs."""

from dskd_core.config import PipelineConfig
from dskd_core.store.access import check_settings
from dskd_core.store.trial import check_can_be_read
from flows.flow import DEFAULTS, dskd_flow
from tasks import planning


@dskd_flow("plan of {config.teacher.source}")
def plan(config: PipelineConfig = DEFAULTS) -> list[dict[str, str]]:
    """Show tokens, shards, bytes, FLOPs and hours of every stage as a table; nothing runs.

    Args:
        config: the settings of all stages.

    Returns:
        One row a stage.
    """
    check_settings(config)
    check_can_be_read(config.root_uri, "root_uri")
    return planning.plan.submit(config).result()
