"""What every flow does before it does anything: refuse what cannot work, and settle ``auto``."""

from prefect.runtime import flow_run

from dskd_core.config import PipelineConfig
from dskd_core.store.access import check_settings
from dskd_core.store.trial import check_takes_files
from dskd_core.training.loop.trackers import check_trackers
from tasks.precision import precision


def begin(config: PipelineConfig) -> PipelineConfig:
    """Return the settings a run works with: every precision by its name.

    ``auto`` depends on the device, so a worker that has it is asked, and once: all others are told,
    and the artifacts of one run have one precision. A flow within a flow has been told.

    Raises:
        ConfigError: if a place may not be used or takes no files, or a device cannot compute in
            what was asked for, or a tracker is not installed.
        CapacityError: if the disk of the artifacts is full.
    """
    check_settings(config)
    check_trackers(config.training, config.root_uri)
    if flow_run.parent_flow_run_id:
        return config
    check_takes_files(config.root_uri, "root_uri")
    named = precision.submit(config).result()
    changed = {
        stage: getattr(config, stage).model_copy(update=values) for stage, values in named.items()
    }
    return config.model_copy(update=changed)
