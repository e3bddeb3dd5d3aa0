"""Text of other domains, from its source to the scores of every subject on it."""

from collections.abc import Mapping, Sequence

from dskd_core.config import PipelineConfig
from flows.sharded import make_sharded
from tasks import evaluation
from tasks.shards import in_slots
from tasks.stage_uris import StageUris
from tasks.training import InputUris

Subject = tuple[InputUris, str, str | None]
"""What a student was made from, its name, and its URI: none of the teacher."""


def capture_other_texts(config: PipelineConfig, uris: StageUris, text: str) -> dict[str, str]:
    """Cut other texts into windows and run the teacher over them once.

    Args:
        config: the settings of all stages.
        uris: with teacher, corpus and the student before training.
        text: that students are trained on.

    Returns:
        The URI of the teacher's activations of each text, by its name.
    """
    if not config.evaluation.other_texts:
        return {}
    needed = uris.needed("teacher", "untrained", "corpus")
    read = list(dict.fromkeys((needed["corpus"], text)))
    teacher, captured = needed["teacher"], {}
    settings = evaluation.capture_settings(config)
    for number, other in enumerate(config.evaluation.other_texts):
        cut = evaluation.other_text.submit(config, other.name, number, teacher, read).result()
        made_from = {"teacher": teacher, "text": cut, "untrained": needed["untrained"]}
        captured[other.name] = make_sharded(settings, "activations", made_from)
    return captured


def score_other_texts(
    config: PipelineConfig, subjects: Sequence[Subject], captured: Mapping[str, str]
) -> list[str]:
    """Score every subject on every other text; return the scores' URIs."""
    if not captured:
        return []
    return in_slots(
        "other-scores",
        evaluation.other_scores,
        {
            f"scores on {text} of {name}": (config, inputs, name, uri, text, activations)
            for text, activations in captured.items()
            for inputs, name, uri in subjects
        },
    )
