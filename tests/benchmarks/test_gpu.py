"""benchmarks.gpu at the size of a toy, on the CPU: that its parts run, and that it ends well."""

import ast
import json
import re
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import composition, extraction, goals, kmeans, rate, running, training
from benchmarks.gpu.part import Told
from benchmarks.gpu.running import PARTS, Part, run_part
from benchmarks.gpu.scene import TOY, Scene

ROOT = Path(__file__).parents[2]
MODULES = {m.__name__.rpartition(".")[2]: m for m in (composition, extraction, kmeans, rate)}
MODULES["training"] = training
BROUGHT = {"torch", "transformers", "numpy", "yaml", "fsspec", "safetensors", "tokenizers"} | {
    "huggingface_hub"
}
"""What the machine has: three packages, and what these cannot do without."""


NOT_ASKED_FOR = {
    *("cuml", "cupy", "sklearn"),  # k-means' other backends; their checks are skipped without them
    *("datasets", "gguf", "obstore", "botocore"),  # sources and stores
    "mlflow",  # a tracker
}
"""What functions import that no part calls."""


@pytest.fixture
def scene(tmp_path):
    return Scene(TOY, torch.device("cpu"), tmp_path)


@pytest.mark.parametrize(
    "part",
    [p for p in PARTS if p.module in MODULES and p.name != "kmeans_cuml"],
    ids=lambda p: p.name,
)
def test_a_part_tells_how_fast_it_is_and_what_the_plan_says(scene, tmp_path, part):
    report = tmp_path / "report.json"
    MODULES[part.module].measure(scene, Told(report), *part.options)
    found = json.loads(report.read_text())
    rates = [value for name, value in found.items() if name.endswith("per_second")]
    assert rates
    assert all(value > 0 for value in rates)
    if part.name in {"extraction", "cached", "online"}:
        assert found["planned_bytes"] > 0


def played(monkeypatch, code: str, name: str = "part", seconds: float = 20.0):
    """Run code in the place of a part; ``report`` is the file it tells in."""
    monkeypatch.setattr(
        running,
        "_command",
        lambda _, report, *__, **___: [sys.executable, "-c", f"report = {str(report)!r}\n{code}"],
    )
    return run_part(Part(name, "rate", seconds=seconds), ROOT, toy=False, seconds=100.0)


def test_a_part_that_hangs_is_ended_with_what_it_started_and_what_it_told_is_kept(
    monkeypatch, tmp_path
):
    alive = tmp_path / "alive"
    child = f"import time; time.sleep(8); open({str(alive)!r}, 'w')"
    code = (
        "import subprocess, sys, time\n"
        "open(report, 'w').write('{\"rate\": 7}')\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        "time.sleep(60)\n"
    )
    started = time.monotonic()
    assert played(monkeypatch, code, seconds=5.0) == ({"rate": 7}, "ended at its limit of 5 s")
    assert time.monotonic() - started < 30
    time.sleep(4)
    assert not alive.exists()


def test_a_part_that_fails_leaves_the_last_line_it_said(monkeypatch):
    found, why = played(monkeypatch, "raise SystemExit('ConfigError: no GPU')")
    assert (found, why) == ({}, "exit status 1: ConfigError: no GPU")


def test_no_part_begins_when_the_time_of_all_is_over():
    assert run_part(PARTS[0], ROOT, toy=False, seconds=2.0) == (
        {},
        "not run: 2 s were left of all parts' time",
    )


def test_all_limits_together_are_below_eight_minutes():
    assert sum(part.seconds for part in PARTS[:-1]) + 90 <= 470


def test_tests_are_told_by_their_counts_and_why_some_were_skipped(tmp_path):
    report = tmp_path / "report"
    report.write_text(
        '<testsuites><testsuite tests="3" failures="1" errors="0" skipped="1">'
        '<testcase name="a"/><testcase name="b"><failure message="1 != 2"/></testcase>'
        '<testcase name="c"><skipped message="needs cuml"/></testcase></testsuite></testsuites>'
    )
    found = running._told(Part("equality", running.TESTS), report)
    assert found["failed"] == {"b": "1 != 2"}
    assert found["skipped_because"] == {"c": "needs cuml"}
    assert goals.derived({"equality": found})["equality_failures"] == 1


def test_the_last_line_has_every_goal_and_why_a_part_has_no_figure(monkeypatch, capsys):
    told = {
        "rate": {"flops_per_second": 800e12},
        "extraction": {"flops_per_second": 440e12, "peak_bytes": 33e9, "planned_bytes": 27.5e9},
        "plain": {"tokens_per_second": 100.0},
        "cached": {"as_written_tokens_per_second": 460.0},
        "online": {"tokens_per_second": 120.0, "as_written_tokens_per_second": 150.0},
    }

    def fake(part, *_, **__):
        found = told.get(part.name, {})
        return found, "" if found else "exit status 1: ImportError"

    monkeypatch.setattr(command, "run_part", fake)
    monkeypatch.setattr(command, "here", lambda: {"device": "NVIDIA H200"})
    monkeypatch.setattr(sys, "argv", ["gpu"])
    command.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    met = {name: goal["met"] for name, goal in found["goals"].items()}
    assert met["extraction_share_of_rate"] is True  # 0.55
    assert met["extraction_peak_vs_plan"] is False  # 1.2
    assert met["cached_vs_plain"] is True  # 4.6, of the step as written: nothing else was measured
    assert met["online_vs_plain"] is False  # 1.2: the compiled step counts where there is one
    assert met["kmeans_tokens_per_second"] is None
    assert set(found["failures"]) == {part.name for part in PARTS} - set(told)
    assert found["device"] == "NVIDIA H200"


def test_a_run_in_which_nothing_was_measured_fails(monkeypatch):
    monkeypatch.setattr(command, "run_part", lambda *_, **__: ({}, "exit status 1"))
    monkeypatch.setattr(command, "here", dict)
    monkeypatch.setattr(sys, "argv", ["gpu"])
    with pytest.raises(SystemExit, match="1"):
        command.main()


def wanted() -> dict[str, Requirement]:
    lines = (ROOT / "infra" / "requirements-gpu.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {one.name.lower(): one for one in found}


def test_the_wheels_have_the_floors_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = project["dependencies"] + project["optional-dependencies"]["dev"]
    floors = {one.name.lower(): one.specifier for one in map(Requirement, asked)}
    named = [one for one in wanted().values() if one.specifier]
    assert len(named) > 5
    for one in named:
        assert one.specifier == floors[one.name], one


def imported(file: Path, *, later: bool = False) -> Iterator[str]:
    """Yield what a module imports when it is imported, or what anything in it imports later."""
    tree = ast.parse(file.read_text("utf-8"))
    waiting = list(ast.walk(tree) if later else tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
        elif not later and not isinstance(node, ast.FunctionDef | ast.Lambda):
            waiting += list(ast.iter_child_nodes(node))


def file_of(module: str) -> Path | None:
    place = ROOT.joinpath(*module.split("."))
    for file in (place.with_suffix(".py"), place / "__init__.py"):
        if file.exists():
            return file
    return None


def test_nothing_is_imported_on_the_way_but_what_the_machine_or_the_wheels_have():
    entries = sorted([*ROOT.glob("benchmarks/gpu/*.py"), *ROOT.glob("tests/gpu/*.py")])
    waiting = [*entries, ROOT / "tests/miniature.py", ROOT / "tests/conftest.py"]
    seen, outside = set(), {}
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        for name in imported(file):
            top = name.partition(".")[0]
            if top in {"dskd_core", "benchmarks", "tests"}:
                waiting += [found] if (found := file_of(name)) else []
            elif top not in sys.stdlib_module_names:
                outside.setdefault(top, file)
    assert len(seen) > 100
    available = BROUGHT | {re.sub("-", "_", name) for name in wanted()}
    assert {top: file for top, file in outside.items() if top not in available} == {}
    ours = seen - set(ROOT.glob("tests/*.py"))  # of which one starts Prefect's server
    lazy = {name.partition(".")[0] for file in ours for name in imported(file, later=True)}
    known = available | set(sys.stdlib_module_names) | {"dskd_core", "benchmarks", "tests"}
    assert lazy - known == NOT_ASKED_FOR
