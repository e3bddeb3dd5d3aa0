"""Run every part, print what each said, and end with one line of JSON.

    python -m benchmarks.gpu [--toy] [--seconds 470] [--only NAME ...]

The last line has the device, the date, versions, every figure, each goal with whether it was met
(null where it was not measured), and ``failures``: why a part has no figure, or not all of them.
The command fails only if no part at all had a figure: a missed goal is a result.
"""

import argparse
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.gpu.goals import derived, verdicts
from benchmarks.gpu.running import PARTS, run_part
from benchmarks.gpu.versions import here


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--toy", action="store_true", help="on the CPU, at no size: it runs")
    parser.add_argument("--seconds", type=float, help="for all parts together")
    parser.add_argument("--only", nargs="*", default=[part.name for part in PARTS])
    options = parser.parse_args()
    started = time.monotonic()
    limit = options.seconds or (4700.0 if options.toy else 470.0)
    root = Path(__file__).parents[2]
    found: dict[str, Any] = {"date": datetime.now(UTC).isoformat(timespec="seconds")}
    found |= {"toy": options.toy, **here()}
    figures: dict[str, dict[str, Any]] = {}
    failures: dict[str, str] = {}
    for part in PARTS:
        if part.name not in options.only:
            continue
        left = limit - (time.monotonic() - started)
        figures[part.name], why = run_part(part, root, toy=options.toy, seconds=left)
        if why:
            failures[part.name] = why
            print(f"{part.name}: {why}", flush=True)
    found |= {"figures": figures, "derived": derived(figures)}
    found |= {"goals": verdicts(found["derived"], toy=options.toy)}
    found |= {"failures": failures, "seconds": round(time.monotonic() - started)}
    print(json.dumps(found))
    if not any(figures.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
