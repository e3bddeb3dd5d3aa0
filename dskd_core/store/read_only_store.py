"""A store in which nothing is made: whatever a stage would make, it is told to be missing."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dskd_core.errors import ArtifactError
from dskd_core.store.artifacts import ArtifactStore, Draft, Work


class NotMade(ArtifactError):  # noqa: N818 - what it says, not that it is wrong
    """What was looked for is not there, and nobody was asked to make it."""


@dataclass(frozen=True)
class ReadOnlyStore(ArtifactStore):
    """The artifacts under a root as they are.

    Any ``build_x(store, ...)`` called with it returns what stands there, or raises before it has
    computed anything: so what a configuration lacks is found by the code that would make it.
    """

    @contextmanager
    def publish(self, work: Work, *, started: float | None = None) -> Iterator[Draft]:
        """Refuse to make anything.

        Raises:
            NotMade: always.
        """
        raise NotMade(
            f"No artifact {work.stage}/{work.fingerprint} under {self.root_uri}; "
            f"run the stage {work.stage} first."
        )
        yield Draft(Path())  # never reached; it makes this a context manager
