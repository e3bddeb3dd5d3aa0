"""What computes here: the device, its driver, and the versions that figures depend on.

Asked in a process of its own: a driver that hangs or crashes costs no part.
"""

import json
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_PACKAGES = (
    "torch",
    "transformers",
    "triton",
    "numpy",
    "zarr",
    "duckdb",
    "cuml-cu13",
    "cupy-cuda13x",
)
_LIMIT_SECONDS = 60.0
_ASK = """
import json, torch
found = {"cuda": torch.version.cuda, "device": None}
try:
    torch.cuda.init()
    properties = torch.cuda.get_device_properties(0)
    found |= {"device": properties.name, "device_bytes": properties.total_memory}
    found["capability"] = "sm_{}{}".format(properties.major, properties.minor)
except Exception as error:
    found["no_device"] = str(error).partition("\\n")[0]
print(json.dumps(found))
"""


def here() -> dict[str, Any]:
    """Return the device and the versions, None where something is absent."""
    found: dict[str, Any] = {"device": None, "python": platform.python_version()}
    command = [sys.executable, "-c", _ASK]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_LIMIT_SECONDS, check=True
        )
        found |= json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError) as error:
        found["no_device"] = f"torch could not be asked: {type(error).__name__}"
    found["driver"] = _driver()
    return found | {"versions": {name: _version(name) for name in _PACKAGES}}


def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20.0, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return (done.stdout.splitlines() or [""])[0].strip() or None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
