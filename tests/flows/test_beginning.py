"""What a flow settles before it begins."""

import pytest
from prefect import flow

from dskd_core.config import PipelineConfig
from flows.beginning import begin
from flows.runners.choice import ChosenRunner

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect_server")]


def test_a_flow_settles_auto_once_and_a_flow_within_it_keeps_what_was_settled(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("DSKD_PRECISION", "bfloat16")
    seen = []

    @flow(task_runner=ChosenRunner())
    def inner(config: PipelineConfig) -> None:
        monkeypatch.setenv("DSKD_PRECISION", "float32")  # another worker would say so
        seen.append(begin(config))

    @flow(task_runner=ChosenRunner())
    def outer(config: PipelineConfig) -> None:
        seen.append(begin(config))
        inner(seen[-1])

    outer(PipelineConfig(root_uri=str(tmp_path / "artifacts")))
    for config in seen:
        named = (config.teacher.dtype, config.senses.coarse_dtype, config.training.compute_dtype)
        assert named == ("bfloat16",) * 3
