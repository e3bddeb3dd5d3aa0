"""What training needs of the teacher, captured before the dictionary is built or after it."""

from collections.abc import Mapping

from dskd_core.config import PipelineConfig
from flows.runners.threads import Made
from tasks import training
from tasks.shards import in_slots


def capture_corpus(config: PipelineConfig, made: Made) -> training.Places:
    """Capture the windows of the corpus that students train on, for the embeddings to reuse."""
    teacher, text = made["teacher"], made["corpus"]
    untrained = training.untrained.submit(config, teacher).result()
    mode = training.mode_of(config, untrained, text)
    inputs = {"teacher": teacher, "untrained": untrained, "text": text, "mode": mode}
    return {"untrained": untrained, "activations": capture_activations(config, inputs)}


def capture_activations(
    config: PipelineConfig, inputs: Made, done: Mapping[str, str] | None = None
) -> str:
    """Keep what training needs of the teacher; ``done`` are URIs of shards not to run."""
    teacher, untrained, text = inputs["teacher"], inputs["untrained"], inputs["text"]
    mode = inputs["mode"]
    parts = in_slots(
        "activations",
        training.capture,
        {
            f"activations shard {shard.name}": (config, teacher, untrained, text, mode, shard)
            for shard in training.shards_of(config, text, mode)
        },
        done,
    )
    return training.collect.submit(config, untrained, text, mode, parts).result()
