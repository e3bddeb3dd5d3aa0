"""The four refusals of dskd.

Each is also a builtin, so a caller may catch ``ValueError`` and need not know dskd. A message is
one finished sentence that shows the offending value and ends with the cure. What the world does
(disk, network, CUDA) is not among them: it keeps its own exception and Prefect retries it, while a
refusal is never retried, because the second try would be refused too.
"""


class DskdError(Exception):
    """Base of every refusal; a flow never retries one."""


class ConfigError(DskdError, ValueError):
    """A setting, or a combination of settings, that cannot work."""


class DataError(DskdError, ValueError):
    """An input whose content cannot be used at all; dirty rows are counted instead."""


class ArtifactError(DskdError, LookupError):
    """An artifact that is absent, damaged, or was made from other inputs."""


class CapacityError(MemoryError, DskdError):
    """A plan that does not fit its budget, refused before anything runs."""

    # MemoryError stands first: the other way round no unpickler that calls __new__ could make one.
