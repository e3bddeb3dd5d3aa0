"""The dictionary that pages show, and the work on it that they do not wait for."""

import contextlib
import shlex
import threading
from typing import TYPE_CHECKING, Any

from dskd_core.errors import DskdError
from dskd_core.explorer.jobs import Job, Jobs
from dskd_core.explorer.maps import Layout
from dskd_core.explorer.nearest import SenseIndex
from dskd_core.explorer.odd import odd_ones
from dskd_core.explorer.opened import OpenDictionary, choose, import_transformers
from dskd_core.explorer.pairs import contradictions
from dskd_core.explorer.projection import tsne
from dskd_core.progress import Progress
from dskd_core.store.artifacts import Artifact, ArtifactStore

if TYPE_CHECKING:  # a quarter of all imports, which pages of words do not wait for
    from dskd_core.dictionary.difference import Difference
    from dskd_core.explorer.training import Training


class Shelf:
    """A dictionary of a root, opened when a page first asks for it.

    A root without one is looked at again with the next page, so a run may still be making it.
    """

    def __init__(
        self, root_uri: str, *, dictionary: str = "", in_memory_bytes: int | None = None
    ) -> None:
        """Remember a root.

        Args:
            root_uri: the root.
            dictionary: the fingerprint of one of its dictionaries, or how it begins; the newest
                where it is empty.
            in_memory_bytes: up to how many its rows are kept in memory.
        """
        self.store, self._in_memory_bytes = ArtifactStore(root_uri), in_memory_bytes
        self._chosen = dictionary
        self._opened: OpenDictionary | None = None
        self._lock = threading.Lock()
        self._drawing, self._searching, self._reading = Jobs(), Jobs(), Jobs()

    def dictionary(self) -> OpenDictionary:
        """Return the dictionary.

        Raises:
            ArtifactError: if the root has none, or none of that name, or a file of it is damaged.
            ConfigError: if several have names that begin so.
        """
        with self._lock:
            if self._opened is None:
                artifact = choose(self.store, self._chosen)
                self._opened = OpenDictionary(
                    self.store, artifact, in_memory_bytes=self._in_memory_bytes
                )
            return self._opened

    def dictionaries(self) -> list[dict[str, Any]]:
        """Return the dictionaries of the root, the newest first."""
        opened, found = self.dictionary(), self.store.of_stage("dictionary")
        return [
            {
                "fingerprint": artifact.fingerprint,
                "created": created(artifact),
                "counts": artifact.record.counts,
                "is_open": artifact.fingerprint == opened.artifact.fingerprint,
                "command": f"dskd explore {shlex.quote(self.store.root_uri)} "
                f"--dictionary {artifact.fingerprint}",
            }
            for artifact in reversed(found)
        ]

    def job(self, key: str) -> Job | None:
        """Return work in the background by its key; None if it is not known any more."""
        queues = (self._drawing, self._searching, self._reading)
        return next((job for queue in queues if (job := queue.find(key))), None)

    def head(self) -> Job:
        """Return the teacher's head: its reader, or why it cannot be read.

        Its file is compared with its checksum first, which takes seconds.
        """
        opened = self.dictionary()
        return self._reading.ask("head", (), lambda report: opened.head)

    def tsne(self, layout: Layout) -> Job:
        """Return the places of senses by t-SNE."""
        inputs = (self.dictionary().artifact.fingerprint, layout.rows)
        return self._drawing.ask("t-SNE", inputs, lambda report: tsne(layout.axes, report))

    def contradictions(self) -> Job:
        """Return the contradicted pairs of the dictionary."""
        opened = self.dictionary()
        return self._searching.ask("contradictions", (), lambda report: contradictions(opened))

    def difference(self, before: Artifact, after: Artifact) -> Job:
        """Return what changed between two dictionaries: a :class:`Difference`."""

        def compared(report: Progress) -> "Difference":
            from dskd_core.dictionary.difference import compare

            import_transformers()
            return compare(before.uri, after.uri, progress=report)

        return self._searching.ask("difference", (before.fingerprint, after.fingerprint), compared)

    def index(self) -> Job:
        """Return the index of a dictionary whose rows want one: a :class:`SenseIndex`."""
        opened = self.dictionary()
        return self._searching.ask("index", (), lambda report: SenseIndex(opened.rows, report))

    def odd_ones(self) -> Job:
        """Return the odd ones out: :class:`OddOnes`."""
        opened = self.dictionary()
        index = self.index() if opened.rows.wants_index else None  # stands before it in the queue
        return self._searching.ask(
            "odd ones", (), lambda report: odd_ones(opened, index.wait if index else _none, report)
        )

    def states(self, training: "Training") -> Job:
        """Return the states of two students at the positions of a page."""
        from dskd_core.explorer.states import run_students

        store, pair, places = self.store, training.pair or (), training.places
        inputs = ([scores.fingerprint for scores in pair], places)
        return self._drawing.ask(
            "states", inputs, lambda report: run_students(store, pair, places, report)
        )

    def before_training(self, scores: Artifact) -> Job:
        """Return the means of the student before training, where the scores of it after are."""
        from dskd_core.explorer.states import score_before_training

        made_from = {k: v for k, v in scores.record.inputs.items() if k != "student"}
        return self._drawing.ask(
            "before training",
            (sorted(made_from.items()), scores.record.config["validation_share"]),
            lambda report: score_before_training(self.store, scores, report),
        )

    def warm(self) -> None:
        """Open the dictionary, begin to read the teacher's head, import what other pages want."""
        with contextlib.suppress(DskdError):
            self.head()
        from dskd_core.explorer import comparison, training  # noqa: F401

    def close(self) -> None:
        """Let the dictionary go."""
        self._drawing.close()
        self._searching.close()
        self._reading.close()
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def about(self) -> dict[str, Any] | None:
        """Return what every page's foot says of the dictionary; None before it is open."""
        return about(self._opened) if self._opened else None


def _none() -> None:
    """Return no index: every row is looked at."""


def created(artifact: Artifact) -> str:
    """Return when an artifact was made, to the minute."""
    return artifact.record.created_at[:16].replace("T", " ")


_FILED = {
    "predicted": "An occurrence of a token is a place where the teacher predicts it.",
    "next": "An occurrence of a token is the place before it: the text goes on with it.",
    "input": "An occurrence of a token is a place where the text has it.",
    "": "Occurrences are those that were clustered: the embeddings are not under this root.",
}


def about(opened: OpenDictionary) -> dict[str, Any]:
    """Return what every page's foot says of a dictionary."""
    counts, embeddings = opened.artifact.record.counts, opened.embeddings
    return {
        "occurrences": _FILED[embeddings.record.config["key"] if embeddings else ""],
        "fingerprint": opened.artifact.fingerprint,
        "words": counts["words"],
        "tokens": counts["tokens_with_senses"],
        "rows": counts["rows"],
        "source": opened.sources.teacher.record.report["source"],
    }


def head_note(opened: OpenDictionary) -> str:
    """Return why the teacher's head cannot be read; nothing where it can."""
    return opened.head if isinstance(opened.head, str) else ""
