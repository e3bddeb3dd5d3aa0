"""Versions of dskd and its tools: those installed here, and the refusal of what others made."""

import contextlib
import platform
from importlib import metadata

from dskd_core.errors import ArtifactError

_TOOLS = ("torch", "transformers", "zarr", "duckdb", "numpy", "scikit-learn")


def tool_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries whose results end up in artifacts."""
    versions = {"python": platform.python_version()}
    for tool in (*_TOOLS, "dskd"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[tool] = metadata.version(tool)
    return versions


def of_another_version(uri: str, name: str, made_by: str) -> ArtifactError:
    """Return the refusal of a whole artifact in which nobody put what is read of it.

    Args:
        uri: the artifact's place.
        name: the file or array that neither its record nor its folder has.
        made_by: the version of dskd that its record says.
    """
    here = tool_versions().get("dskd", "")
    whose = f"dskd {made_by or 'of no version'}, and this is {here}"
    if made_by == here:
        whose = f"an earlier state of dskd {made_by}"
    return ArtifactError(
        f"{uri} has no {name}: it was made by {whose}; delete it and run its stage again with this."
    )
