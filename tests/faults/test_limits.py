"""Few open files, little memory, a clock that goes back: the same bytes, or one sentence."""

import json
import signal
import time
from pathlib import Path

import pytest
import yaml

from dskd_core.config import PipelineConfig
from dskd_core.store.artifacts import ArtifactStore
from dskd_core.store.garbage import find_garbage
from tests.faults.deployed import Contents, assert_whole, contents
from tests.faults.driver import Death, live, live_in_the_past
from tests.faults.ends import Started, seconds_until_gone, start
from tests.faults.lives import lives
from tests.miniature import make

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

LIMITED = """
import resource, runpy, sys
name, limit = sys.argv.pop(1), int(sys.argv.pop(1))
resource.setrlimit(getattr(resource, name), (limit, limit))
runpy.run_module("flows.cli", run_name="__main__")
"""


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> tuple[PipelineConfig, Contents]:
    """What an undisturbed run makes."""
    evaluation = {"arms": ["kd", "paper"], "seeds": [0], "n_resamples": 20}
    config = make(tmp_path_factory.mktemp("limits"), evaluation=evaluation)
    with lives(live, seconds=150) as life:
        assert life(config) == 0
    return config, contents(config)


def run_limited(config: PipelineConfig, folder: Path, name: str, limit: int) -> Started:
    """Call ``dskd run`` under a limit of the system and wait for its end."""
    file = folder / "limited.yaml"
    file.write_text(yaml.safe_dump(json.loads(config.model_dump_json())), "utf-8")
    run = start(
        ["-c", LIMITED, name, str(limit), "run", str(file)], folder, "run", OMP_NUM_THREADS="1"
    )
    run.process.wait(300)
    assert seconds_until_gone(run, time.monotonic(), 30) < 30
    return run


@pytest.fixture(scope="module")
def unlimited(calm, tmp_path_factory) -> Contents:
    """What ``dskd run`` makes of the same settings where it has all the files it asks for."""
    folder = tmp_path_factory.mktemp("unlimited")
    config = calm[0].model_copy(update={"root_uri": str(folder / "artifacts")})
    run = run_limited(config, folder, "RLIMIT_NOFILE", 4096)
    assert run.process.returncode == 0, run.said()
    return contents(config)


@pytest.mark.parametrize(
    ("name", "limit", "sentence"),
    [
        ("RLIMIT_NOFILE", 64, "The system opened no more files"),
        ("RLIMIT_AS", 10**9, "The system gave no "),
    ],
)
def test_a_run_of_small_limits_ends_with_the_same_bytes_or_one_sentence(
    calm, unlimited, tmp_path, name, limit, sentence
):
    config = calm[0].model_copy(update={"root_uri": str(tmp_path / "limited")})
    run = run_limited(config, tmp_path, name, limit)
    if Path(config.root_uri).exists():
        assert_whole(config)
    if run.process.returncode == 0:
        assert contents(config) == unlimited
    else:
        assert sentence in " ".join(run.said().split()), run.said()
        assert "Traceback" not in run.said()


HOUR = 3600.0


def test_a_run_that_goes_on_with_its_clock_an_hour_back_ends_with_the_same_bytes(calm, tmp_path):
    config = calm[0].model_copy(update={"root_uri": str(tmp_path / "back")})
    with lives(live, seconds=150) as life:
        assert life(config, Death("checkpoint", "written", 2)) == -signal.SIGKILL
    # The draft that was left, of a writer at work for all that tidy knows, is from the future.
    past = time.time() - HOUR
    found = find_garbage(config.root_uri, older_than_hours=1.0, now=past)
    assert [one for one in found if one.uri.startswith(config.root_uri)] == []
    last = max(a.record.created_at for a in ArtifactStore(config.root_uri).of_stage("corpus"))
    with lives(live_in_the_past, seconds=150) as life:
        assert life(config, HOUR) == 0
    assert all(
        a.record.created_at < last for a in ArtifactStore(config.root_uri).of_stage("scores")
    )
    assert_whole(config)
    assert contents(config) == calm[1]
