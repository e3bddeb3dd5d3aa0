"""``dskd torchrun`` of a process that trains one student.

    python -m tests.faults.launching FILE FOLDER PORT

FILE has the settings as JSON. The launcher starts the same command, which then trains.
"""

import os
import sys
from pathlib import Path

from dskd_core.config import PipelineConfig
from dskd_core.training.ranks.launched import launched


def main(file: str, folder: str, port: str) -> int:
    """Start the one process of this machine, or be it."""
    config = PipelineConfig.model_validate_json(Path(file).read_text("utf-8"))
    if launched():
        from tests.faults.machine import machine

        machine(config, dict(os.environ), Path(folder))
        return 0
    from flows.torchrun import Launch, launch

    command = ["-m", "tests.faults.launching", file, folder, port]
    return launch(Launch(2, 1, f"127.0.0.1:{port}", "test", 0, 300), command, config)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
