"""Many settings, one table: points share every stage that their settings leave equal."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from dskd_core.config import PipelineConfig
from dskd_core.config.form import TEXT, of_any_values, refusing
from dskd_core.config.size import MAX_POINTS, check_size
from dskd_core.credentials import check_no_credentials
from flows.beginning import begin
from flows.flow import DEFAULTS, dskd_flow
from flows.train import make_untrained, train
from tasks import evaluation
from tasks.stage_uris import StageUris

MAX_SETTINGS = 100
Grid = Annotated[
    dict[str, list[Any]],
    Field(
        max_length=MAX_SETTINGS,
        json_schema_extra={
            "propertyNames": refusing(*TEXT),
            "additionalProperties": {
                "type": "array",
                "maxItems": MAX_POINTS,
                "items": of_any_values(),
            },
        },
    ),
    BeforeValidator(check_no_credentials),
    BeforeValidator(check_size),  # the last one is asked first
]
ABLATIONS: dict[str, list[Any]] = {
    "senses.n_senses": [3, 10],
    "training.n_candidates": [1, 10],
    "training.positive_weight,training.negative_weight": [0.5, 1.5, 2.0],
    "training.margin": [1.0, "calibrated"],
    "student.n_trainable_layers": [1, 4],
    "student.layers": ["first", "first_last", "spaced"],
    "embeddings.key": ["predicted", "next", "input"],
}
"""The paper's ablations (k, kappa, both betas together, trainable layers), and the margin, the
choice of layers and the key. A value the first point has already adds no point."""


@dskd_flow("sweep on {config.teacher.source}")
def sweep(
    config: PipelineConfig = DEFAULTS,
    grid: Grid = ABLATIONS,
    design: Literal["one_at_a_time", "product"] = "one_at_a_time",
) -> StageUris:
    """Train and score KD and DSKD at every point; compare them in one table.

    Args:
        config: the settings of all stages: the first point.
        grid: values to try, by setting, such as ``{"senses.n_senses": [3, 10]}``; settings with
            commas between them change together.
        design: each setting alone around the first point, or all combinations; a thousand points
            at most.

    Returns:
        The URI of the sweep, and of the scores of every point.
    """
    config = begin(config)
    points = evaluation.points(config, grid, design)
    for point in points.values():  # a student that cannot be made ends no sweep half way
        if point.training.mode != "precomputed":
            make_untrained(point)
    scores = {name: train(point).scores for name, point in points.items()}
    return StageUris(
        sweep=evaluation.sweep.submit(config, list(grid), scores).result(),
        scores=[uri for uris in scores.values() for uri in uris],
    )
