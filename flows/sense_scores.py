"""Teacher and students to their scores on words whose senses or relations are known."""

from dskd_core.config import PipelineConfig
from flows.runners.threads import Made
from flows.train import models_of
from tasks import sense_scores as tasks
from tasks.shards import in_slots


def with_sense_scores(config: PipelineConfig, made: Made) -> Made:
    """Score what stands on the tagged sources of the settings; without any, change nothing.

    The teacher is scored where its artifact is among what was made.

    Args:
        config: the settings of all stages.
        made: the URIs that ``train_students`` returned.

    Returns:
        ``made`` with the list of scores under ``sense_scores``.
    """
    evaluation = config.evaluation
    if not evaluation.tagged:
        return made
    models = models_of(config, made)
    scores = in_slots(
        "sense-scores",
        tasks.score,
        {
            name: (config, name, number, made["dictionary"], uri)
            for model, uri in models.items()
            for number, source in enumerate(evaluation.tagged)
            for name in [f"{tasks.name_of(source)} of {model}"]
        },
    )
    return made | {"sense_scores": scores}
