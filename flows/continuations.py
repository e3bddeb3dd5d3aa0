"""What teacher and students write after the same beginnings."""

from prefect import get_run_logger

from dskd_core.config import PipelineConfig
from dskd_core.evaluation.comparison.arms import BASELINE
from flows.train import models
from tasks import evaluation
from tasks.stage_uris import StageUris

_MOST_ARMS = 4
"""Arms whose students are shown: more beside each other nobody reads."""


def with_continuations(config: PipelineConfig, uris: StageUris) -> StageUris:
    """Let the teacher and one student of each arm go on with beginnings of held-out documents.

    Without a corpus, where everything is precomputed, there are none.

    Args:
        config: the settings of all stages.
        uris: what ``train_students`` returned.

    Returns:
        ``uris`` with ``continuations``.
    """
    if not config.evaluation.n_continuations:
        return uris
    if uris.corpus is None:
        get_run_logger().info("No continuations: the held-out text itself is not here.")
        return uris
    made = evaluation.continuations.submit(config, uris.corpus, shown_models(config, uris))
    return uris.having(continuations=made.result())


def shown_models(config: PipelineConfig, uris: StageUris) -> list[str]:
    """Return the URIs of the teacher and of the first seed's students: KD's, then others'."""
    evaluation, made = config.evaluation, models(config, uris)
    others = [arm for arm in evaluation.arms if arm != BASELINE]
    names = [f"{arm} seed {evaluation.seeds[0]}" for arm in (BASELINE, *others)[:_MOST_ARMS]]
    return [made[name] for name in ("teacher", *names) if name in made]
