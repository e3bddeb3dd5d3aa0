"""What a run computes in, settled once for all its workers."""

from typing import Any

from prefect import get_run_logger

from dskd_core.config import PipelineConfig
from tasks.artifacts import store_of
from tasks.policy import gpu_task


@gpu_task(name="precision", task_run_name="precision")
def precision(config: PipelineConfig) -> dict[str, dict[str, Any]]:
    """Return the precisions that stand for ``auto`` where the run computes, and say them.

    Artifacts of the same teacher in another precision are named: they stay, and others are made.
    More ranks than this worker has GPUs or processors are refused.
    """
    from dskd_core.decoder.precision import OVERRIDE, processor_on, resolved, torch_device
    from dskd_core.embeddings.teacher import in_other_precisions
    from dskd_core.training.ranks.ranks import check_ranks

    logger, named = get_run_logger(), resolved(config)
    check_ranks(config.training.n_ranks, torch_device(config.teacher.device).type)
    logger.info(
        "Computing on %s: teacher in %s, training in %s, coarse rounds of k-means in %s",
        processor_on(config.teacher.device),
        named.teacher.dtype,
        named.training.compute_dtype,
        named.senses.coarse_dtype,
    )
    for other in in_other_precisions(store_of(config), named.teacher):
        logger.warning(
            "%s has this teacher in %s (made on %s); this run makes its own artifacts in %s. To go "
            "on with those instead, set %s=%s.",
            config.root_uri,
            other.record.config["dtype"],
            other.record.processor or "an unknown processor",
            named.teacher.dtype,
            OVERRIDE,
            other.record.config["dtype"],
        )
    return {
        "teacher": {"dtype": named.teacher.dtype},
        "senses": {"coarse_dtype": named.senses.coarse_dtype},
        "training": {"compute_dtype": named.training.compute_dtype},
    }
