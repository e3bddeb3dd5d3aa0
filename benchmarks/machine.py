"""Which machine a benchmark ran on: figures of one class of processor say nothing of another."""

from dskd_core.decoder.precision import processor_on


def machine(device: str = "cpu", precision: str | None = None) -> dict[str, str]:
    """Print what computes here, and return it for the last line of a report.

    Args:
        device: of a setting: cpu, cuda, auto.
        precision: of the products, where a benchmark's time is theirs.
    """
    found = {"processor": str(processor_on(device))}
    if precision is not None:
        found["precision"] = precision
    print("machine: " + ", ".join(found.values()), flush=True)
    return found
