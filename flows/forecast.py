"""How long a run will take on this machine, before it begins, and how right that was."""

from dskd_core.config import PipelineConfig
from dskd_core.progress import StageEstimate, clock_time


def forecast(config: PipelineConfig) -> list[StageEstimate] | None:
    """Return how long each stage will take here, or None where nobody can say."""
    del config  # no estimate is made yet
    return None


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
