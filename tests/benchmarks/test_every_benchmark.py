"""Every benchmark still runs, at its smallest, and ends with one JSON object."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.miniature import make

ROOT = Path(__file__).parents[2]
NOT_RUN_ALONE = {"__init__", "machine"}
SMALLEST = {
    "adaptive_k": "--root {root} --only tokens --tokens 8 --senses 2 --max-senses 4",
    "explorer": "--tokens 400 --senses 3 --width 64 --folder {tmp}",
    "extraction": "--root {tmp} --batches 1 --rounds 1 --batch-tokens 512",
    "growth": "--quick --part sizes --folder {tmp}",
    "int8_states": "--root {root} --tokens 4 --senses 2",
    "kmeans": "--root {root} --tokens 1 --rows 60 --senses 2",
    "lexicon": "--quick",
    "orchestration": "--shards 1 --shard-tokens 1024 --empty 2",
    "reading": "--steps 3",
    "recipes": "--turns 1 --parameters {beside_gap}",
    "scaling": "--shards 2 --seconds 0.2 --empty 2",
    "store": "--rows 4096 --width 64 --repeats 1 --folder {tmp}",
    "training": "--quick --part senses --root {tmp}",
    "wiktextract": "--megabytes 2",
}


@pytest.fixture(scope="module")
def beside_gap(tmp_path_factory) -> Path:
    """The settings of a miniature whose student has a gap between its layers."""
    folder = tmp_path_factory.mktemp("beside_gap")
    layers = {"layers": [0, 1, 3], "n_layers": None, "n_trainable_layers": 1}
    config = make(folder / "miniature", student=layers | {"trainable_layers": "beside_cut"})
    path = folder / "parameters.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")), "utf-8")
    return path


def test_every_benchmark_has_its_smallest_run_here():
    found = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}

    assert found - NOT_RUN_ALONE == set(SMALLEST)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_a_benchmark_ends_with_one_json_object(name, miniature, beside_gap, tmp_path):
    _ = miniature.dictionary()
    places = {"root": miniature.config.root_uri, "tmp": tmp_path, "beside_gap": beside_gap}
    arguments = SMALLEST[name].format_map(places).split()
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(tmp_path / "prefect")}

    ended = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, ended.stderr[-2000:]
    assert json.loads(ended.stdout.splitlines()[-1])["processor"]
