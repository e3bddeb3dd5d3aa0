"""Steps of ``deployments/prefect.yaml``."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from dskd_core.config import load_config
from dskd_core.errors import ConfigError
from dskd_core.store.access import ROOTS

_SECRETS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_DEFAULT_REGION",
    "HF_TOKEN",
)


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

    Where the worker has no DSKD_ROOTS, parameters may name nothing outside that folder.

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
    # Parameters come from whoever may start a run: without other roots, they stay in this folder.
    os.environ.setdefault(ROOTS, home)
    take_credentials()
    return {"directory": home}


def take_credentials() -> None:
    """Put the secrets of a Prefect block into this process's environment, where s3fs looks.

    ``DSKD_SECRETS`` names a block of the type Secret whose value is a JSON object such as
    ``{"AWS_ACCESS_KEY_ID": "...", "AWS_SECRET_ACCESS_KEY": "..."}``; without it nothing is done.

    Raises:
        ConfigError: if it holds anything else; nothing it holds is repeated.
    """
    if not (name := os.environ.get("DSKD_SECRETS", "")):
        return
    from prefect.blocks.system import Secret

    value = Secret.load(name, _sync=True).get()
    with contextlib.suppress(ValueError, TypeError):
        value = json.loads(value)
    if not isinstance(value, dict) or not all(
        key in _SECRETS and isinstance(secret, str) for key, secret in value.items()
    ):
        raise ConfigError(
            f"The Secret block {name!r} is no JSON object of strings under {', '.join(_SECRETS)}; "
            "save it again."
        )
    os.environ.update(value)
