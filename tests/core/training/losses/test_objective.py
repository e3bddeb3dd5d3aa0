from dskd_core.config import TrainingConfig
from dskd_core.training.losses.objective import LossWeights


def test_kd_is_the_same_objective_with_both_sense_weights_zero():
    config = TrainingConfig(positive_weight=1.5, negative_weight=1.5)
    kd, dskd = (
        LossWeights.from_config(config, "kd", 9.0),
        LossWeights.from_config(config, "dskd", 9.0),
    )
    assert (kd.positive, kd.negative, kd.state) == (0.0, 0.0, 0.0)
    assert (dskd.positive, dskd.negative, dskd.state) == (1.5, 1.5, 0.0)
    assert (kd.kl, kd.temperature) == (dskd.kl, dskd.temperature) == (0.7, 2.0)


def test_the_control_arm_pulls_to_the_teacher_s_state_instead():
    control = LossWeights.from_config(TrainingConfig(), "kd_mse", 9.0)
    assert (control.positive, control.negative, control.state) == (0.0, 0.0, 1.0)


def test_a_calibrated_margin_is_the_one_that_was_measured():
    assert LossWeights.from_config(TrainingConfig(margin="calibrated"), "dskd", 3.25).margin == 3.25
