"""What ranks of several machines must have alike: settings, storage, processor and versions."""

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dskd_core.config import PipelineConfig
from dskd_core.decoder.precision import processor_on, resolved
from dskd_core.errors import DskdError, shown
from dskd_core.store import places
from dskd_core.store.versions import tool_versions

_PROBE = ".dskd-trial-"
_PROBE_SECONDS = 5.0
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Facts:
    """What the bytes of a student depend on beside its inputs, of one rank.

    Attributes:
        host: the name of its machine.
        root: where ``root_uri`` leads.
        settings: of all stages, as written.
        kind: what computes, in which precisions, with which versions of libraries.
    """

    host: str
    root: str
    settings: dict[str, Any]
    kind: dict[str, Any]

    @classmethod
    def from_config(cls, config: PipelineConfig) -> "Facts":
        """Gather them in this process."""
        named, versions = resolved(config), tool_versions()
        del versions["python"]
        kind = {
            "processor": str(processor_on(config.teacher.device)),
            "teacher.dtype": named.teacher.dtype,
            "training.compute_dtype": named.training.compute_dtype,
        }
        root = places.check_root(config.root_uri)
        return cls(socket.gethostname(), root, config.model_dump(mode="json"), kind | versions)

    def refusal_of(self, rank: int, theirs: "Facts") -> str:
        """Say why another rank cannot train beside this one, the first; nothing if it can."""
        here, there = f"rank 0 ({self.host})", f"Rank {rank} ({theirs.host})"
        if name := _first_difference(self.settings, theirs.settings):
            ours, other = (shown(_value(one.settings, name)) for one in (self, theirs))
            return (
                f"{there} was started with {name} {other}, and {here} with {ours}; give all "
                "machines the same parameter file."
            )
        if theirs.root != self.root:
            return (
                f"root_uri leads {there} to {theirs.root} and {here} to {self.root}; write it as "
                "an absolute path of storage that all machines share, or an s3:// prefix."
            )
        if name := _first_difference(self.kind, theirs.kind):
            return (
                f"{there} has {name} {theirs.kind.get(name)}, and {here} {self.kind.get(name)}: "
                "their weights would drift apart; take machines of one kind with the same packages."
            )
        return ""


def _first_difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    """Return the dotted name of the first value that differs.

    >>> _first_difference({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}})
    'a.c'
    """
    for name in sorted(one.keys() | other.keys()):
        ours, theirs = one.get(name), other.get(name)
        if isinstance(ours, dict) and isinstance(theirs, dict) and ours != theirs:
            return f"{name}.{_first_difference(ours, theirs)}"
        if ours != theirs:
            return name
    return ""


def _value(settings: Any, name: str) -> Any:
    for part in name.split("."):
        settings = settings[part]
    return settings


@contextlib.contextmanager
def probed_by_others(root: str, name: str) -> Iterator[None]:
    """Let something stand under a root while the block runs, for the others to read."""
    fs, path = places.filesystem(places.check_root(root))
    if not places.is_remote(root):
        Path(root).mkdir(parents=True, exist_ok=True)
    fs.pipe_file(f"{path}/{_PROBE}{name}", name.encode())
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            fs.rm_file(f"{path}/{_PROBE}{name}")


def read_probe(root: str, name: str) -> str:
    """Return what stands there, or why nothing is read; storage may be seconds late."""
    deadline = time.monotonic() + _PROBE_SECONDS
    while True:
        try:
            fs, path = places.filesystem(root)
            return bytes(fs.cat_file(f"{path}/{_PROBE}{name}")).decode()
        except (OSError, DskdError) as error:
            if time.monotonic() > deadline:
                return f"{type(error).__name__}"
            time.sleep(POLL_SECONDS)
