"""How long a run will take on this machine, before it begins, and how right that was."""

import logging
import os
from pathlib import Path

from dskd_core.config import PipelineConfig
from dskd_core.progress import StageEstimate, clock_time

_log = logging.getLogger("dskd.forecast")


def forecast(config: PipelineConfig) -> tuple[list[StageEstimate], list[str]]:
    """Return how long each stage will take here, and sentences on what is not in it.

    No estimate where none can be made: that is no reason not to run.
    """
    try:
        from dskd_core.planning.hours.estimate import estimate_run  # imports torch

        found = estimate_run(config, first_start=_is_first_start())
    except Exception as error:
        _log.warning("No estimate of the time is made (%s: %s).", type(error).__name__, error)
        return [], []
    return list(found.stages), list(found.left_out)


def _is_first_start() -> bool:
    """Say whether Prefect will make its database, which a server that runs has done."""
    home = Path(os.environ.get("PREFECT_HOME") or "work/prefect")
    return "PREFECT_API_URL" not in os.environ and not (home / "prefect.db").exists()


def outcome(estimated: float | None, took: float, n_found: int = 0) -> str:
    """Hold what a run took against what was estimated.

    Args:
        estimated: seconds; None where nobody could say.
        took: seconds.
        n_found: stages that had nothing to make.

    >>> outcome(680, 723)
    'Estimated 11:20 min, took 12:03 min (6 % more).'
    >>> outcome(None, 30, n_found=3)
    'Took 30 s; 3 stages were found done.'
    """
    found = f"; {n_found} stages were found done" if n_found > 1 else ""
    found = "; 1 stage was found done" if n_found == 1 else found
    if estimated is None:
        return f"Took {clock_time(took)}{found}."
    share = round(100 * (took / max(estimated, 1.0) - 1))
    said = f"{abs(share)} % {'more' if share > 0 else 'less'}" if share else "as estimated"
    return f"Estimated {clock_time(estimated)}, took {clock_time(took)} ({said}){found}."
