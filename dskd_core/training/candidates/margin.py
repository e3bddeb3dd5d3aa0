"""The margin gamma, set by how far the teacher's own states are from antonyms' senses."""

import numpy as np

from dskd_core.config import TrainingConfig
from dskd_core.store.artifacts import Artifact

QUANTILES = np.linspace(0.0, 1.0, 101)
"""At which a ``candidates`` record has MSE(m_t, a) over all kappa nearest negatives."""


def calibrated_margin(candidates: Artifact, quantile: float) -> float:
    """Return a quantile of MSE(m_t, a) over all positions and their kappa nearest negatives."""
    stored = candidates.record.report["antonym_mse_quantiles"]
    return float(np.interp(quantile, QUANTILES, stored))


def margin_sentence(candidates: Artifact, config: TrainingConfig) -> str:
    """Say how far the teacher's states are from antonyms' senses, and what margins make of it."""
    report = candidates.record.report
    if not candidates.record.counts["negatives"]:
        return "No position has negatives: the margin has nothing to push."
    low, middle, high = (calibrated_margin(candidates, q) for q in (0.05, 0.5, 0.95))
    chosen = calibrated_margin(candidates, config.margin_quantile)
    return (
        f"MSE(m_t, antonym senses) is {middle:.3g} in the median (5 % below {low:.3g}, 5 % above "
        f"{high:.3g}): at the paper's margin 1 the teacher's own states have "
        f"{report['teacher_active_share_at_margin_1']:.1%} of them inside, at the calibrated "
        f"{chosen:.3g} {config.margin_quantile:.0%}; training.margin is {config.margin}."
    )
