"""The grid of a sweep: the settings to try, and the base's values of those that are varied.

Grid points share whatever their settings leave equal: activations for all of them that keep the
teacher, the text and the student's layers, KD students for all that change senses alone.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dskd_core.config import PipelineConfig, parse_config
from dskd_core.config.size import MAX_POINTS
from dskd_core.errors import ConfigError, shown
from dskd_core.evaluation.comparison.arms import BASELINE

ARM = "paper"
Design = Literal["one_at_a_time", "product"]


@dataclass(frozen=True)
class GridPoint:
    """One set of settings; ``name`` says what differs from the first."""

    name: str
    config: PipelineConfig


def expand_grid(
    config: PipelineConfig, grid: Mapping[str, Sequence[Any]], design: Design = "one_at_a_time"
) -> list[GridPoint]:
    """Return the settings to try, the base first; a value the base has already adds no point.

    The table is of KD and DSKD, so no point has other arms.

    Settings with commas between them, such as both betas, take each value together.

    >>> grid = {"senses.n_senses": [5, 10], "training.n_candidates": [1]}
    >>> [point.name for point in expand_grid(PipelineConfig(), grid)]
    ['base', 'senses.n_senses=10', 'training.n_candidates=1']
    >>> len(expand_grid(PipelineConfig(), grid, "product"))
    3

    Raises:
        ConfigError: if a setting does not exist or refuses a value, or if there are more than a
            thousand points: each is two students a seed, and as many scores.
    """
    _check_n_points(grid, design)
    arms = config.evaluation.model_copy(update={"arms": (BASELINE, ARM)})
    config = config.model_copy(update={"evaluation": arms})
    if design == "product":
        choices = [
            dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())
        ]
    else:
        choices = [{name: value} for name, values in grid.items() for value in values]
    points, known = [GridPoint("base", config)], {config.model_dump_json()}
    for choice in choices:
        changed = _change(config, choice)
        if (said := changed.model_dump_json()) not in known:
            known.add(said)
            name = ", ".join(f"{key}={value}" for key, value in _split_settings(choice))
            points.append(GridPoint(name, changed))
    return points


def _check_n_points(grid: Mapping[str, Sequence[Any]], design: Design) -> None:
    """Count the points of a grid without making any."""
    counts = [len(values) for values in grid.values()]
    n_points = math.prod(counts) if design == "product" else sum(counts)
    if n_points > MAX_POINTS:
        raise ConfigError(
            f"The sweep's grid of {shown(counts)} values has {shown(n_points)} points, more than "
            f"{MAX_POINTS:,}; leave values out, or set the design one_at_a_time."
        )


def base_values(config: PipelineConfig, settings: Iterable[str]) -> dict[str, Any]:
    """Return what the base has for the settings of a grid, those with commas one by one.

    >>> base_values(PipelineConfig(), ["senses.n_senses", "training.margin,training.n_candidates"])
    {'senses.n_senses': 5, 'training.margin': 1.0, 'training.n_candidates': 5}

    Raises:
        ConfigError: if a setting does not exist.
    """
    values = config.model_dump(mode="json")
    held = {
        name: _settings_holding(values, name) for names in settings for name in _split_names(names)
    }
    return {name: stage[key] for name, (stage, key) in held.items()}


def _split_names(settings: str) -> list[str]:
    return [name.strip() for name in settings.split(",")]


def _split_settings(choice: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for names, value in choice.items():
        for name in _split_names(names):
            yield name, value


def _change(config: PipelineConfig, choice: Mapping[str, Any]) -> PipelineConfig:
    values = config.model_dump(mode="json")
    for name, value in _split_settings(choice):
        stage, key = _settings_holding(values, name)
        stage[key] = value
    return parse_config(values, "A point of the sweep")


def _settings_holding(values: dict[str, Any], name: str) -> tuple[dict[str, Any], str]:
    """Return the settings that hold the one of a dotted name, and its key in them."""
    *stages, key = name.split(".")
    place: Any = values
    for stage in stages:
        place = place.get(stage) if isinstance(place, dict) else None
    if not isinstance(place, dict) or key not in place:
        raise ConfigError(
            f"The sweep's setting {shown(name)} does not exist; name one as stage.setting, such as "
            "senses.n_senses."
        )
    return place, key
