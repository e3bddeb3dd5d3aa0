"""Everything, from text and lexicons to the comparison of students."""

from prefect import get_run_logger

from dskd_core.config import PipelineConfig
from flows.beginning import begin
from flows.evaluate import compare_students
from flows.flow import DEFAULTS, dskd_flow
from flows.train import find_dictionary, train_students
from tasks.artifacts import show_summary
from tasks.stage_uris import StageUris


@dskd_flow("pipeline of {config.teacher.source}")
def pipeline(config: PipelineConfig = DEFAULTS) -> StageUris:
    """Run every stage; finished work is found, not repeated.

    Args:
        config: the settings of all stages.

    Returns:
        The URI of the artifact of every stage, and lists of them for students and scores.
    """
    config = begin(config)
    uris = find_dictionary(config)
    uris = train_students(config, uris)
    uris = compare_students(config, uris)
    show_summary(uris.listed())
    get_run_logger().info("All artifacts lie under %s", config.root_uri)
    return uris
