"""Small disks that fill up."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """Mount a small disk; give a function that sets its size."""

    def mount(*options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")

    folder.mkdir()
    mount(f"size={size}")
    try:
        yield lambda wanted: mount("remount", f"size={wanted}")
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
