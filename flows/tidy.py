"""What killed work left behind is swept; what was published never is."""

from typing import Annotated

from pydantic import Field

from dskd_core.config import PipelineConfig
from dskd_core.config.form import finite
from dskd_core.store.access import check_settings
from dskd_core.store.trial import check_can_be_read, check_takes_files
from flows.flow import DEFAULTS, dskd_flow
from tasks import tidy as tasks

Hours = Annotated[
    float, Field(ge=1.0, le=876_000.0, allow_inf_nan=False, json_schema_extra=finite(876_000.0))
]
"""Up to a century."""


@dskd_flow("tidy {config.root_uri}")
def tidy(
    config: PipelineConfig = DEFAULTS, older_than_hours: Hours = 24.0, dry_run: bool = False
) -> list[dict[str, str]]:
    """Delete drafts and broken uploads that nobody has written to for long.

    Args:
        config: the settings of all stages; only the root is used.
        older_than_hours: what was written to later than that is left alone; at least 1.
        dry_run: only show what would be deleted.

    Returns:
        One row a draft or upload.
    """
    check_settings(config)
    (check_can_be_read if dry_run else check_takes_files)(config.root_uri, "root_uri")
    return tasks.tidy.submit(config, older_than_hours, dry_run).result()
