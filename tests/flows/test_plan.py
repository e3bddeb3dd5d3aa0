"""The plan in the UI."""

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from flows.plan import plan
from tests.miniature import make

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect_server")]


def test_a_plan_is_a_table_in_the_ui_before_anything_is_made(tmp_path):
    config = make(tmp_path)
    rows = plan(config)
    assert [row["stage"] for row in rows][-2:] == ["students", "all"]
    assert not (tmp_path / "artifacts").exists()
    with get_client(sync_client=True) as client:
        keys = ("plan", "plan-hours", "plan-sizes", "plan-basis")
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=list(keys)))
        found = {artifact.key for artifact in client.read_artifacts(artifact_filter=wanted)}
    assert found == set(keys)
