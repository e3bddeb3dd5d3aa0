"""Fixtures that several folders share."""

from collections.abc import Iterator

import pytest
import torch

from dskd_core.config import PipelineConfig
from tests.miniature import Built, make
from tests.served import Served, serving

# Several test processes on two cores: more threads than one each only wait for one another.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory) -> Iterator[Served]:
    """A real server with pools, workers and deployments; half a minute, once."""
    with serving(tmp_path_factory.mktemp("work")) as served:
        yield served


@pytest.fixture
def config(tmp_path) -> PipelineConfig:
    """Settings whose artifacts lie in the test's own folder."""
    return PipelineConfig(root_uri=str(tmp_path / "artifacts"))


@pytest.fixture(scope="session")
def miniature(tmp_path_factory) -> "Built":
    """A miniature whose artifacts are made once a session; tests must not change them."""
    return Built(make(tmp_path_factory.mktemp("miniature")))
