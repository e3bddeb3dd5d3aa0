"""The environment of make gpu on a machine that has torch and no network."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_that_python_brings_hides_what_the_machine_has(tmp_path, monkeypatch):
    """Python 3.11 puts setuptools of 2022 into an environment; torch wants a newer one."""
    main, run = runpy.run_path(str(ROOT / "infra/gpu_environment.py"))["main"], subprocess.run
    place, asked = tmp_path / "environment", []

    def without_installing(command, **kwargs):
        asked.append(command)
        if "-r" in command or command[2].startswith("import torch"):
            return subprocess.CompletedProcess(command, 0)
        return run(command, **kwargs)

    monkeypatch.setattr(subprocess, "run", without_installing)
    monkeypatch.setattr(sys, "argv", ["gpu_environment.py", str(place), str(tmp_path)])
    main()
    (own,) = Path(place, "lib").glob("python3.*/site-packages")
    assert not list(own.glob("setuptools*"))
    assert Path(own, "pip").is_dir()
    assert any("--no-index" in command for command in asked)
