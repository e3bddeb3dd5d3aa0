"""The protocol of lm-evaluation-harness: its own tasks on rows of ours, its own metrics.

Wording, exemplars and metrics are lm-evaluation-harness's (``tasks``, ``items``); the
log-likelihoods are computed here (``likelihoods``), because its model class runs again what choices
and items share: with five exemplars it takes two to three times as long (docs/evaluation.md).
"""
