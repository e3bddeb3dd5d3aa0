"""Students to a report: teacher, KD and DSKD on the same held-out text."""

from dskd_core.config import PipelineConfig
from flows.beginning import begin
from flows.benchmarks import with_benchmarks
from flows.runners.threads import DEFAULTS, Made, dskd_flow
from flows.sense_scores import with_sense_scores
from flows.train import dictionary_of, train_students
from tasks import evaluation


@dskd_flow("evaluate {config.teacher.source}")
def evaluate(config: PipelineConfig = DEFAULTS) -> Made:
    """Score and compare every student; what is missing is made first.

    Args:
        config: the settings of all stages.

    Returns:
        The URI of the artifact of every stage, the report's among them.
    """
    config = begin(config)
    return compare_students(config, train_students(config, dictionary_of(config)))


@dskd_flow("report on {config.teacher.source}")
def compare_students(config: PipelineConfig, made: Made) -> Made:
    """Score on benchmarks and on words with known senses, if any are named; compare all scores.

    Args:
        config: the settings of all stages.
        made: the URIs that ``train_students`` returned.

    Returns:
        ``made`` with the report.
    """
    made = with_sense_scores(config, with_benchmarks(config, made))
    items = [*made.get("benchmarks", []), *made.get("sense_scores", [])]
    report = evaluation.report.submit(config, made["scores"], made["students"], items).result()
    return made | {"report": report}
