"""How long a run will take on this machine, before it begins, and how right that was."""

import logging

from dskd_core.config import PipelineConfig
from dskd_core.progress import StageEstimate, clock_time

_log = logging.getLogger("dskd.forecast")


def forecast(config: PipelineConfig) -> list[StageEstimate]:
    """Return how long each stage will take here; nothing where nobody can say.

    A teacher on a hub that does not answer is such a case: that is no reason not to run.
    """
    from dskd_core.planning.estimate import estimate_run  # imports torch

    try:
        return list(estimate_run(config))
    except Exception as error:
        _log.warning("No estimate of the time is made (%s: %s).", type(error).__name__, error)
        return []


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
