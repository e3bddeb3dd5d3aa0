"""Points of a sweep: what is tried, and what the base says of itself."""

import pytest

from dskd_core.config import PipelineConfig
from dskd_core.errors import ConfigError
from dskd_core.evaluation.ablation.grid import base_values, expand_grid


def test_settings_are_varied_one_at_a_time_around_the_base():
    grid = {"senses.n_senses": [5, 3], "training.margin": [1.0, "calibrated"]}
    points = expand_grid(PipelineConfig(), grid)
    assert [point.name for point in points] == [
        "base",
        "senses.n_senses=3",
        "training.margin=calibrated",
    ]
    assert points[1].config.senses.n_senses == 3
    assert points[1].config.training == points[0].config.training


def test_no_control_is_trained_that_the_table_does_not_show():
    config = PipelineConfig()
    assert "kd_mse" in config.evaluation.arms
    points = expand_grid(config, {"senses.n_senses": [3]})
    assert {point.config.evaluation.arms for point in points} == {("kd", "paper")}
    assert {point.config.evaluation.seeds for point in points} == {config.evaluation.seeds}


def test_a_product_has_every_combination_once():
    grid = {"senses.n_senses": [5, 3], "training.n_candidates": [5, 1]}
    points = expand_grid(PipelineConfig(), grid, "product")
    pairs = {(p.config.senses.n_senses, p.config.training.n_candidates) for p in points}
    assert pairs == {(5, 5), (5, 1), (3, 5), (3, 1)}
    assert len(points) == 4


def test_settings_with_a_comma_between_them_change_together():
    grid = {"training.positive_weight,training.negative_weight": [1.0, 0.5]}
    points = expand_grid(PipelineConfig(), grid)
    assert [point.name for point in points] == [
        "base",
        "training.positive_weight=0.5, training.negative_weight=0.5",
    ]
    assert points[1].config.training.positive_weight == 0.5
    assert points[1].config.training.negative_weight == 0.5


def test_the_default_grid_has_the_papers_ablations():
    from flows.sweep import ABLATIONS

    points = [point.config for point in expand_grid(PipelineConfig(), ABLATIONS)]
    for values in (
        {c.senses.n_senses for c in points},
        {c.training.n_candidates for c in points},
        {c.training.positive_weight for c in points},
        {c.student.n_trainable_layers for c in points},
    ):
        assert len(values) >= 3
    assert all(c.training.positive_weight == c.training.negative_weight for c in points)
    assert {c.embeddings.key for c in points} == {"predicted", "next", "input"}
    assert {c.student.layers for c in points} == {"first", "first_last", "spaced"}
    assert {c.training.margin for c in points} == {1.0, "calibrated"}


def test_the_base_says_its_own_value_of_every_setting_of_the_grid():
    grid = {
        "senses.n_senses": [3],
        "training.positive_weight, training.negative_weight": [2.0],
        "corpus.max_tokens": [1000],
    }
    base = PipelineConfig(training={"negative_weight": 0.5})
    assert base_values(base, grid) == {
        "senses.n_senses": 5,
        "training.positive_weight": 1.0,
        "training.negative_weight": 0.5,
        "corpus.max_tokens": None,
    }


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        ({"senses.k": [3]}, "'senses.k' does not exist"),
        ({"sense.n_senses": [3]}, "'sense.n_senses' does not exist"),
        ({"teacher.source.a": ["b"]}, "'teacher.source.a' does not exist"),
        ({"senses.n_senses": [0]}, "n_senses=0"),
    ],
)
def test_a_setting_that_does_not_exist_or_refuses_its_value_is_named_first(grid, told):
    with pytest.raises(ConfigError, match=told):
        expand_grid(PipelineConfig(), grid)


@pytest.mark.parametrize(
    ("n_values", "design", "n_points"),
    [(300, "product", "27000000"), (334, "one_at_a_time", "1002"), (11, "product", "1331")],
)
def test_a_grid_of_more_than_a_thousand_points_is_refused_before_any_is_made(
    n_values, design, n_points
):
    names = ["senses.n_senses", "training.n_candidates", "words.max_span"]
    grid = {name: range(1, n_values + 1) for name in names}
    with pytest.raises(ConfigError, match=rf"{n_points} points, more than 1,000; leave values out"):
        expand_grid(PipelineConfig(), grid, design)
