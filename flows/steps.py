"""Steps of ``deployments/prefect.yaml``."""

import os
from pathlib import Path
from typing import Any

from dskd_core.config import load_config
from dskd_core.errors import ConfigError


def read_parameters(path: str) -> dict[str, Any]:
    """Read a parameter file, so that a deployment's defaults are the file's values.

    Returns:
        ``{"config": values}``; as a step with ``id: x`` it is written ``{{ x.config }}``.

    Raises:
        ConfigError: if a value is refused, before anything is deployed.
    """
    return {"config": load_config(Path(path)).model_dump(mode="json")}


def enter_home() -> dict[str, str]:
    """Go to the worker's own DSKD_HOME, which relative roots and files are read from.

    Prefect's set_working_directory would keep the folder of whoever deployed: it fills in
    environment variables at registration.

    Returns:
        ``{"directory": path}``, as Prefect's own pull steps do.

    Raises:
        ConfigError: if the worker has no such folder.
    """
    home = os.environ.get("DSKD_HOME", "")
    if not Path(home).is_dir() or not home:
        raise ConfigError(
            f"DSKD_HOME={home!r} is no folder on this worker; start the worker with DSKD_HOME set "
            "to the folder that relative roots and lexicon files are meant from."
        )
    os.chdir(home)
    return {"directory": home}
