"""Teacher and students to their scores on words whose senses or relations are known."""

from dskd_core.config import PipelineConfig
from flows.train import models
from tasks import sense_scores as tasks
from tasks.shards import in_slots
from tasks.stage_uris import StageUris


def with_sense_scores(config: PipelineConfig, uris: StageUris) -> StageUris:
    """Score the models on the tagged sources of the settings; without any, change nothing.

    The teacher is scored where its artifact is among what was made.

    Args:
        config: the settings of all stages.
        uris: what ``train_students`` returned.

    Returns:
        ``uris`` with the list of scores under ``sense_scores``.
    """
    evaluation = config.evaluation
    if not evaluation.tagged:
        return uris
    dictionary = uris.needed("dictionary")["dictionary"]
    scores = in_slots(
        "sense-scores",
        tasks.score,
        {
            name: (config, name, number, dictionary, uri)
            for model, uri in models(config, uris).items()
            for number, source in enumerate(evaluation.tagged)
            for name in [f"{tasks.name_of(source)} of {model}"]
        },
    )
    return uris.having(sense_scores=scores)
