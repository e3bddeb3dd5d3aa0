"""Everything, from text and lexicons to the comparison of students."""

from prefect import get_run_logger

from dskd_core.config import PipelineConfig
from flows.beginning import begin
from flows.evaluate import compare_students
from flows.runners.threads import DEFAULTS, Made, dskd_flow
from flows.train import dictionary_of, train_students
from tasks.artifacts import show_summary


@dskd_flow("pipeline of {config.teacher.source}")
def pipeline(config: PipelineConfig = DEFAULTS) -> Made:
    """Run every stage; finished work is found, not repeated.

    Args:
        config: the settings of all stages.

    Returns:
        The URI of the artifact of every stage, and lists of them for students and scores.
    """
    config = begin(config)
    made = dictionary_of(config)
    made = train_students(config, made)
    made = compare_students(config, made)
    show_summary(made)
    get_run_logger().info("All artifacts lie under %s", config.root_uri)
    return made
