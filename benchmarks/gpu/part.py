"""One part in this process: python -m benchmarks.gpu.part NAME REPORT.json [--toy] [OPTION].

It rewrites its report whenever it knows a figure more, so that one that is ended at its limit has
told what it knew.
"""

import argparse
import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.gpu.scene import Scene
from dskd_core.errors import DskdError


class Told:
    """What a part knows so far, on disk."""

    def __init__(self, file: Path) -> None:
        self._file, self.figures = file, {}  # type: ignore[var-annotated]

    def __call__(self, **figures: Any) -> None:
        """Add figures."""
        self.figures |= figures
        whole = self._file.with_suffix(".new")
        whole.write_text(json.dumps(self.figures), "utf-8")
        whole.replace(self._file)


def main() -> None:
    """Measure a part."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("module")
    parser.add_argument("report", type=Path)
    parser.add_argument("option", nargs="*")
    parser.add_argument("--toy", action="store_true")
    options = parser.parse_args()
    measure = importlib.import_module(f"benchmarks.gpu.{options.module}").measure
    with tempfile.TemporaryDirectory() as folder:
        try:
            scene = Scene.begin(Path(folder), toy=options.toy)
            measure(scene, Told(options.report), *options.option)
        except (DskdError, ImportError) as error:
            sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
