"""Students to a report: teacher, KD and DSKD on the same held-out text."""

from dskd_core.config import PipelineConfig
from flows.beginning import begin
from flows.benchmarks import with_benchmarks
from flows.continuations import with_continuations
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
    """Score on what else is named, let the models continue some text, and compare all scores.

    Args:
        config: the settings of all stages.
        uris: what ``train_students`` returned.

    Returns:
        ``uris`` with the report.
    """
    uris = with_sense_scores(config, with_benchmarks(config, uris))
    uris = with_continuations(config, uris)
    beside = [*uris.benchmarks, *uris.sense_scores, *uris.other_scores]
    beside += [uris.continuations] if uris.continuations else []
    report = evaluation.report.submit(config, uris.scores, uris.students, beside).result()
    return uris.having(report=report)
