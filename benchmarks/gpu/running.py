"""Parts as processes: each in a group of its own, ended at its limit with all it started."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TESTS = "tests"
_LEAST_SECONDS = 5.0
_SHOWN = 300
_TOY_PATIENCE = 10.0
_REPORTING_SECONDS = 15.0


@dataclass(frozen=True)
class Part:
    """A part of the benchmark.

    Attributes:
        name: in the report.
        module: of benchmarks.gpu; ``tests`` stands for tests/gpu under pytest.
        options: of its ``measure``.
        seconds: after which it is ended.
    """

    name: str
    module: str
    options: tuple[str, ...] = ()
    seconds: float = 45.0


PARTS = (
    Part("rate", "rate", seconds=25.0),
    Part("extraction", "extraction", seconds=50.0),
    Part("plain", "training", ("plain",), seconds=40.0),
    Part("cached", "training", ("cached",), seconds=75.0),
    Part("online", "training", ("online",), seconds=75.0),
    Part("kmeans_torch", "kmeans", ("torch",), seconds=40.0),
    Part("kmeans_cuml", "kmeans", ("cuml",), seconds=40.0),
    Part("composition", "composition", seconds=35.0),
    Part("equality", TESTS, seconds=150.0),
)
"""In their order. The last takes what the others left, at least 90 of 470 seconds."""


def run_part(part: Part, root: Path, *, toy: bool, seconds: float) -> tuple[dict[str, Any], str]:
    """Run a part, its output shown as it comes.

    Args:
        part: which.
        root: of the repository.
        toy: whether it plays on the CPU.
        seconds: that are left for all parts.

    Returns:
        (what it told, why it did not end well or "").
    """
    limit = min(part.seconds * (_TOY_PATIENCE if toy else 1.0), seconds)
    if limit < _LEAST_SECONDS:
        return {}, f"not run: {max(0.0, seconds):.0f} s were left of all parts' time"
    print(f"\n{part.name} (at most {limit:.0f} s)", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report, log = Path(folder, "report"), Path(folder, "log")
        command = _command(part, report, limit, toy=toy)
        environment = os.environ | {"PYTHONPATH": str(root), "PYTHONUNBUFFERED": "1"}
        environment |= {"HF_HUB_OFFLINE": "1", "TMPDIR": folder}
        # What one part has compiled the next need not.
        environment.setdefault("TORCHINDUCTOR_CACHE_DIR", f"{tempfile.gettempdir()}/dskd-inductor")
        with log.open("w") as out:
            process = subprocess.Popen(
                *(command,),
                cwd=root,
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            why = _ended(process, limit)
        said = log.read_text("utf-8", errors="replace").strip()
        print("\n".join("  " + line for line in said.splitlines()[-20:]), flush=True)
        found = _told(part, report)
        if why or process.returncode == 0:
            return found, why
        if "failed" in found:
            return found, f"{len(found['failed'])} of {found['tests']} tests failed"
        last = said.splitlines()[-1].strip() if said else ""
        return found, f"exit status {process.returncode}: {last[:_SHOWN]}"


def _command(part: Part, report: Path, limit: float, *, toy: bool) -> list[str]:
    if part.module == TESTS:
        # It ends between two tests rather than be ended, so that its report is written.
        enough = f"--session-timeout={max(1.0, limit - _REPORTING_SECONDS):.0f}"
        chosen = ["-m", "not slow"] if toy else []
        return [
            *(sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"),
            *("--timeout=90", enough, f"--junitxml={report}", *chosen, "tests/gpu"),
        ]
    played = ["--toy"] if toy else []
    name = "benchmarks.gpu.part"
    return [sys.executable, "-m", name, part.module, str(report), *part.options, *played]


def _ended(process: "subprocess.Popen[bytes]", limit: float) -> str:
    """Wait for a process; end it and all of its group at its limit. Say why, if it was."""
    try:
        process.wait(limit)
        return ""
    except subprocess.TimeoutExpired:
        return f"ended at its limit of {limit:.0f} s"
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _told(part: Part, report: Path) -> dict[str, Any]:
    if not report.exists():
        return {}
    if part.module != TESTS:
        return dict(json.loads(report.read_text("utf-8")))
    suite = ET.parse(report).getroot().find("testsuite")
    if suite is None:
        return {}
    counts = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    bad = {
        str(case.get("name")): str(why.get("message"))[:_SHOWN]
        for case in suite.iter("testcase")
        for why in (*case.iter("failure"), *case.iter("error"))
    }
    skipped = {
        str(case.get("name")): str(why.get("message"))
        for case in suite.iter("testcase")
        if (why := case.find("skipped")) is not None
    }
    return counts | {"failed": bad, "skipped_because": skipped}
