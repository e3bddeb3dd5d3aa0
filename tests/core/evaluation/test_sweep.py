"""Points of a sweep, and its table against the scores it is made from."""

import numpy as np
import pytest

from dskd_core.config import PipelineConfig
from dskd_core.errors import ConfigError
from dskd_core.evaluation.points import base_of, points_of
from dskd_core.evaluation.sweep import build_sweep
from tests.miniature import Built


def test_settings_are_varied_one_at_a_time_around_the_base():
    grid = {"senses.n_senses": [5, 3], "training.margin": [1.0, "calibrated"]}
    points = points_of(PipelineConfig(), grid)
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
    points = points_of(config, {"senses.n_senses": [3]})
    assert {point.config.evaluation.arms for point in points} == {("kd", "dskd")}
    assert {point.config.evaluation.seeds for point in points} == {config.evaluation.seeds}


def test_a_product_has_every_combination_once():
    grid = {"senses.n_senses": [5, 3], "training.n_candidates": [5, 1]}
    points = points_of(PipelineConfig(), grid, "product")
    pairs = {(p.config.senses.n_senses, p.config.training.n_candidates) for p in points}
    assert pairs == {(5, 5), (5, 1), (3, 5), (3, 1)}
    assert len(points) == 4


def test_settings_with_a_comma_between_them_change_together():
    grid = {"training.positive_weight,training.negative_weight": [1.0, 0.5]}
    points = points_of(PipelineConfig(), grid)
    assert [point.name for point in points] == [
        "base",
        "training.positive_weight=0.5, training.negative_weight=0.5",
    ]
    assert points[1].config.training.positive_weight == 0.5
    assert points[1].config.training.negative_weight == 0.5


def test_the_default_grid_has_the_papers_ablations():
    from flows.sweep import ABLATIONS

    points = [point.config for point in points_of(PipelineConfig(), ABLATIONS)]
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
    assert base_of(base, grid) == {
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
        points_of(PipelineConfig(), grid)


def test_the_table_says_what_dskd_gains_at_every_point(miniature):
    scores = {}
    grid = {"training.n_candidates": [1], "student.n_trainable_layers": [1]}
    config = miniature.config.model_copy(
        update={"evaluation": miniature.config.evaluation.model_copy(update={"seeds": (0, 1)})}
    )
    for point in points_of(config, grid):
        built = Built(point.config)
        scores[point.name] = [
            built.scores(built.student(arm, seed)) for arm in ("kd", "dskd") for seed in (0, 1)
        ]
    sweep = build_sweep(miniature.store, config.evaluation, base_of(config, grid), scores)
    names = list(scores)
    rows = {(row["point"], row["metric"]): row for row in sweep.table("sweep.parquet").to_pylist()}
    for name, of_point in scores.items():
        ce = [score.record.report["means"]["ce"] for score in of_point]
        row = rows[name, "ce"]
        assert row["kd"] == pytest.approx(np.mean(ce[:2]))
        assert row["dskd"] == pytest.approx(np.mean(ce[2:]))
        assert row["gain"] == pytest.approx(np.mean(ce[2:]) - np.mean(ce[:2]))
        assert row["low"] <= row["gain"] <= row["high"]
    assert rows["base", "ce"]["change"] is None
    base, other = (rows[name, "ce"] for name in names[:2])
    assert other["change"] == pytest.approx(other["dskd"] - base["dskd"])
    kd = {rows[name, "ce"]["kd"] for name in names[:2]}
    assert len(kd) == 1, "one KD student serves all points that change senses alone"
    page = (sweep.folder() / "sweep.md").read_text()
    base_line = "Base: training.n_candidates=2, student.n_trainable_layers=2."
    assert page.splitlines()[2] == base_line
    assert sweep.record.report["base"] == {
        "training.n_candidates": 2,
        "student.n_trainable_layers": 2,
    }
    for section in page.split("\n## ")[1:3]:
        metric = {"CE": "ce", "KL": "kl"}[section[:2]]
        for name in names:
            (line,) = (line for line in section.splitlines() if line.startswith(f"| {name} |"))
            row = rows[name, metric]
            for low, high in (("low", "high"), ("seed_low", "seed_high")):
                ends = f"[{row[low]:+.4f}, {row[high]:+.4f}]".replace("-", "−")
                assert ends in line
            assert f"| {row['gain']:+.4f} |".replace("-", "−") in line
            assert row["verdict"] in line
    assert (sweep.folder() / "sweep.png").stat().st_size > 1000
