"""Teacher and students to their scores on the benchmarks."""

from dskd_core.config import PipelineConfig
from dskd_core.errors import ConfigError
from flows.beginning import begin
from flows.flow import DEFAULTS, dskd_flow
from flows.train import find_dictionary, models, train_students
from tasks import benchmarks as tasks
from tasks import whole
from tasks.shards import in_slots
from tasks.stage_uris import StageUris


@dskd_flow("benchmarks on {config.teacher.source}")
def benchmarks(config: PipelineConfig = DEFAULTS) -> StageUris:
    """Score teacher and students on every benchmark; what is missing is made first.

    Args:
        config: the settings of all stages; ``evaluation.benchmarks`` names at least one.

    Returns:
        The URI of the artifact of every stage, and under ``benchmarks`` a list of scores.
    """
    config = begin(config)
    if not config.evaluation.benchmarks:
        raise ConfigError("evaluation.benchmarks is empty; name at least one benchmark.")
    return with_benchmarks(config, train_students(config, find_dictionary(config)))


def with_benchmarks(config: PipelineConfig, uris: StageUris) -> StageUris:
    """Score the models on the benchmarks of the settings; without any, change nothing.

    The teacher is scored where its artifact is among what was made.

    Args:
        config: the settings of all stages.
        uris: what ``train_students`` returned.

    Returns:
        ``uris`` with the list of scores under ``benchmarks``.
    """
    evaluation = config.evaluation
    if not evaluation.benchmarks:
        return uris
    scored = models(config, uris)
    first = next(iter(scored.values()))  # all have the teacher's tokenizer
    worded = {
        f"{benchmark.task} {number} {protocol}": (number, protocol)
        for number, benchmark in enumerate(evaluation.benchmarks)
        for protocol in evaluation.protocols
    }
    items = {
        name: tasks.items.submit(config, name, number, protocol, first).result()
        for name, (number, protocol) in worded.items()
    }
    trained_on = None
    if config.prompts.sources and uris.teacher:
        trained_on = whole.questions.submit(config, uris.teacher).result()
    scores = {
        name: _scores(config, name, model, items, trained_on) for name, model in scored.items()
    }
    tasks.show(scores)
    return uris.having(benchmarks=list(scores.values()))


def _scores(
    config: PipelineConfig, model: str, uri: str, items: dict[str, str], trained_on: str | None
) -> str:
    """Score one model; return the URI of its scores."""
    shards = in_slots(
        "benchmarks",
        tasks.score,
        {
            f"{name} of {model} shard {shard.name}": (
                config,
                f"{name} of {model}",
                uri,
                place,
                shard,
            )
            for name, place in items.items()
            for shard in tasks.plan_shards(config, place, uri)
        },
    )
    places = list(items.values())
    return tasks.collect.submit(config, model, uri, places, shards, trained_on).result()
