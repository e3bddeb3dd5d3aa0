"""What training needs of the teacher, captured shard by shard."""

from collections.abc import Mapping

from dskd_core.config import PipelineConfig
from flows.runners.threads import Made
from tasks import training
from tasks.shards import in_slots


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
