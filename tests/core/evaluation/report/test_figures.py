"""What the picture of the training has on it."""

import struct

import numpy as np

from dskd_core.evaluation.report.figures import Curve, draw_training


def height(path) -> int:
    """Return the height of a PNG in pixels, which stands in its header."""
    return struct.unpack(">II", path.read_bytes()[16:24])[1]


def test_the_hinge_has_a_panel_where_an_arm_has_one(tmp_path):
    ce, active = np.linspace(18.0, 3.0, 40), np.linspace(1.0, 0.2, 40)
    kd, paper = Curve("kd", 0, {"ce": ce}), Curve("paper", 0, {"ce": ce, "active_share": active})

    draw_training([kd], tmp_path / "one.png")
    draw_training([kd, paper], tmp_path / "two.png")

    assert height(tmp_path / "one.png") < height(tmp_path / "two.png")


def test_a_first_step_far_above_the_others_does_not_press_them_flat(tmp_path):
    later = 4.0 - np.arange(39) / 39

    draw_training([Curve("kd", 0, {"ce": np.append(18.0, later)})], tmp_path / "high.png")
    draw_training([Curve("kd", 0, {"ce": np.append(1800.0, later)})], tmp_path / "higher.png")

    assert (tmp_path / "high.png").read_bytes() != (tmp_path / "higher.png").read_bytes()
