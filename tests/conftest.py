"""Fixtures that several folders share."""

from collections.abc import Iterator

import pytest

from dskd_core.config import PipelineConfig


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A temporary Prefect server and database; about 20 s once, so its tests share a worker."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield


@pytest.fixture
def config(tmp_path) -> PipelineConfig:
    """Settings whose artifacts lie in the test's own folder."""
    return PipelineConfig(root_uri=str(tmp_path / "artifacts"))
