"""Students to a report: teacher, KD and DSKD on the same held-out text."""

from dskd_core.config import PipelineConfig
from flows.beginning import begin
from flows.benchmarks import with_benchmarks
from flows.flow import DEFAULTS, dskd_flow
from flows.sense_scores import with_sense_scores
from flows.train import find_dictionary, train_students
from tasks import evaluation
from tasks.stage_uris import StageUris


@dskd_flow("evaluate {config.teacher.source}")
def evaluate(config: PipelineConfig = DEFAULTS) -> StageUris:
    """Score and compare every student; what is missing is made first.

    Args:
        config: the settings of all stages.

    Returns:
        The URI of the artifact of every stage, the report's among them.
    """
    config = begin(config)
    return compare_students(config, train_students(config, find_dictionary(config)))


@dskd_flow("report on {config.teacher.source}")
def compare_students(config: PipelineConfig, uris: StageUris) -> StageUris:
    """Score on benchmarks and on words with known senses, if any are named; compare all scores.

    Args:
        config: the settings of all stages.
        uris: what ``train_students`` returned.

    Returns:
        ``uris`` with the report.
    """
    uris = with_sense_scores(config, with_benchmarks(config, uris))
    items = [*uris.benchmarks, *uris.sense_scores]
    report = evaluation.report.submit(config, uris.scores, uris.students, items).result()
    return uris.having(report=report)
