"""The table of a sweep against the scores it is made from."""

import numpy as np
import pytest

from dskd_core.evaluation.ablation.grid import base_values, expand_grid
from dskd_core.evaluation.ablation.store import build_sweep
from tests.miniature import Built


def test_the_table_says_what_dskd_gains_at_every_point(miniature):
    scores = {}
    grid = {"training.n_candidates": [1], "student.n_trainable_layers": [1]}
    config = miniature.config.model_copy(
        update={"evaluation": miniature.config.evaluation.model_copy(update={"seeds": (0, 1)})}
    )
    for point in expand_grid(config, grid):
        built = Built(point.config)
        scores[point.name] = [
            built.scores(built.student(arm, seed)) for arm in ("kd", "paper") for seed in (0, 1)
        ]
    sweep = build_sweep(miniature.store, config.evaluation, base_values(config, grid), scores)
    names = list(scores)
    rows = {(row["point"], row["metric"]): row for row in sweep.table("sweep.parquet").to_pylist()}
    for name, of_point in scores.items():
        ce = [score.record.report["means"]["ce"] for score in of_point]
        row = rows[name, "ce"]
        assert row["kd"] == pytest.approx(np.mean(ce[:2]))
        assert row["paper"] == pytest.approx(np.mean(ce[2:]))
        assert row["gain"] == pytest.approx(np.mean(ce[2:]) - np.mean(ce[:2]))
        assert row["low"] <= row["gain"] <= row["high"]
    assert rows["base", "ce"]["change"] is None
    base, other = (rows[name, "ce"] for name in names[:2])
    assert other["change"] == pytest.approx(other["paper"] - base["paper"])
    kd = {rows[name, "ce"]["kd"] for name in names[:2]}
    assert len(kd) == 1, "one KD student serves all points that change senses alone"
    page = (sweep.folder() / "sweep.md").read_text()
    base_line = "Base: training.n_candidates=2, student.n_trainable_layers=2."
    assert page.splitlines()[2] == base_line
    assert sweep.record.report["base"] == {
        "training.n_candidates": 2,
        "student.n_trainable_layers": 2,
    }
    for section in page.split("\n## ")[2:4]:
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
