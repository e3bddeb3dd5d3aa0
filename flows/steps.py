"""Steps of ``deployments/prefect.yaml``."""

from pathlib import Path
from typing import Any

from dskd_core.config import load_config


def read_parameters(path: str) -> dict[str, Any]:
    """Read a parameter file, so that a deployment's defaults are the file's values.

    Returns:
        ``{"config": values}``; as a step with ``id: x`` it is written ``{{ x.config }}``.

    Raises:
        ConfigError: if a value is refused, before anything is deployed.
    """
    return {"config": load_config(Path(path)).model_dump(mode="json")}
