"""The terms of a run told to TensorBoard, Weights & Biases or MLflow, by accelerate's trackers.

A tracker hears what the progress hears and changes nothing: no byte of a student, and no run ends
because of one. Addresses and credentials are the tracker's own, from the environment
(``WANDB_API_KEY``, ``MLFLOW_TRACKING_URI``).
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dskd_core.config import TrainingConfig
from dskd_core.errors import ConfigError
from dskd_core.progress import Progress
from dskd_core.redaction import redact
from dskd_core.store import access, places
from dskd_core.store.artifacts import Work

PROJECT = "dskd"
_FOLDER = "logs"
_PACKAGES = {
    "tensorboard": ("tensorboard", "tensorboardX"),
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
}
_log = logging.getLogger(__name__)


def check_trackers(config: TrainingConfig, root_uri: str) -> None:
    """Refuse trackers that cannot listen here, before any work.

    Raises:
        ConfigError: if one is not installed, or the folder of the logs may not be written.
    """
    for name in config.trackers:
        if not any(find_spec(package) for package in _PACKAGES[name]):
            raise ConfigError(
                f"training.trackers names {name}, which is not installed here; run: pip install "
                f"{_PACKAGES[name][0]}, or leave it out."
            )
    if config.trackers:
        access.check_writable(str(log_folder(root_uri)), "The folder of the trackers' logs")


def log_folder(root_uri: str) -> Path:
    """Return where trackers write: ``logs`` below a local root, else below the working folder."""
    return (
        Path("work").absolute() / _FOLDER if places.is_remote(root_uri) else Path(root_uri, _FOLDER)
    )


@contextmanager
def tracked(
    config: TrainingConfig, root_uri: str, work: Work, progress: Progress
) -> Iterator[Progress]:
    """Give a progress that tells the trackers, too, whatever ``progress`` is told.

    A tracker that fails is heard of once, in the log, and told nothing more.

    Arm, seed and fingerprint of the student name the run, so that a run that is resumed goes on
    under its name. Steps after its last checkpoint are told again.

    Raises:
        ConfigError: see :func:`check_trackers`.
    """
    check_trackers(config, root_uri)
    if not config.trackers:
        yield progress
        return
    trackers = [_Guarded(name, log_folder(root_uri), work) for name in config.trackers]

    def told(n_done: int, n_total: int, unit: str, **measures: float) -> None:
        progress(n_done, n_total, unit, **measures)
        for tracker in trackers:
            tracker.log(measures, n_done)

    try:
        yield told
    finally:
        for tracker in trackers:
            tracker.finish()


class _Guarded:
    """One of accelerate's trackers, whose failures end it and nothing else."""

    def __init__(self, name: str, folder: Path, work: Work) -> None:
        self._name, self._tracker = name, None
        with self._guarded():
            from accelerate import PartialState

            PartialState(cpu=True)  # which trackers ask who they are; it takes no device
            tracker = _tracker(name, folder, work)
            tracker.start()
            tracker.store_init_configuration(_plain(work.config))
            self._tracker = tracker

    def log(self, values: dict[str, float], step: int) -> None:
        """Tell the terms of a step."""
        if self._tracker is not None:
            with self._guarded():
                self._tracker.log(values, step)

    def finish(self) -> None:
        """End the tracker's run."""
        if self._tracker is not None:
            with self._guarded():
                self._tracker.finish()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever a library of others does: the student goes first
            self._tracker = None
            _log.warning(
                "training.trackers: %s failed (%s: %s) and is told nothing more of this run, which "
                "goes on without it.",
                self._name,
                type(error).__name__,
                redact(str(error)),
            )


def _tracker(name: str, folder: Path, work: Work) -> Any:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    kind = LOGGER_TYPE_TO_CLASS[name]
    run = f"{work.config['arm']}-seed-{work.config['seed']}-{work.fingerprint}"
    if name == "tensorboard":
        return kind(run, str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    if name == "mlflow":
        return kind(PROJECT, run_name=run, run_id=_begun_in_mlflow(run, folder))
    # Without the limit it waits for a key to be typed, for ever.
    limited = {"login_timeout": 30}
    return kind(
        PROJECT, name=run, id=work.fingerprint, resume="allow", dir=str(folder), settings=limited
    )


def _begun_in_mlflow(run: str, folder: Path) -> str | None:
    """Return the id of a run that was begun under this name: a name alone would begin another.

    Without an address of its own MLflow would write into the working folder, wherever that is.
    """
    import mlflow

    own = f"sqlite:///{folder.absolute() / 'mlflow.db'}"
    mlflow.set_tracking_uri(os.environ.get("MLFLOW_TRACKING_URI") or own)
    found = mlflow.search_runs(
        experiment_names=[os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)],
        filter_string=f"attributes.run_name = '{run}'",
        max_results=1,
        output_format="list",
    )
    return str(found[0].info.run_id) if found else None


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """Return settings as every tracker takes them: numbers and texts."""
    plain = (bool, int, float, str)
    return {
        name: value if isinstance(value, plain) else str(value)
        for name, value in config.items()
        if value is not None
    }
