"""The file with all lines of a run, and how a terminal is kept for the view alone."""

import os
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TextIO

from dskd_core.errors import ConfigError

_NO_BARS = {
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}
_STREAMS = (1, 2)


def quiet_bars(environment: MutableMapping[str, str] = os.environ) -> None:
    """Turn off the bars of tqdm and of what uses it; call before any of these is imported.

    A variable that is already set is left alone.
    """
    for name, value in _NO_BARS.items():
        environment.setdefault(name, value)


def new_log(now: datetime) -> Path:
    """Return an empty file for the lines of a run that begins now, in ``logs`` next to Prefect's.

    Raises:
        ConfigError: if it cannot be written.
    """
    folder = Path(os.environ.get("PREFECT_HOME") or "work/prefect").resolve().parent / "logs"
    path = folder / f"run-{now:%Y%m%d-%H%M%S}.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists():  # of a run that began in the same second
            path = path.with_stem(f"{path.stem}-{os.getpid()}")
        path.touch()
    except OSError as error:
        raise ConfigError(
            f"The run's log {path} cannot be written ({error.strerror}); "
            "set PREFECT_HOME to a folder in one that you may write, such as ~/dskd/prefect."
        ) from error
    return path


@contextmanager
def lines_to(path: Path) -> Iterator[TextIO]:
    """Send all that this process and its children write to a file; yield the terminal.

    It is done below Python, so C libraries and Prefect's temporary server write there, too.
    """
    _flush()
    kept = {stream: os.dup(stream) for stream in _STREAMS}
    terminal = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors="replace")
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in _STREAMS:
        os.dup2(log, stream)
    os.close(log)
    try:
        yield terminal
    finally:
        _flush()
        for stream, before in kept.items():
            os.dup2(before, stream)
            os.close(before)
        terminal.close()


def is_terminal() -> bool:
    """Say whether somebody looks: both streams go to a terminal that can move its cursor."""
    return all(os.isatty(stream) for stream in _STREAMS) and os.environ.get("TERM") != "dumb"


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
