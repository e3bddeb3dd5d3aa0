"""Drafts: artifacts in the making, each a private local folder until its end."""

import contextlib
import json
import logging
import os
import threading
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from dskd_core.errors import ArtifactError

_log = logging.getLogger(__name__)

N_RANDOM = 8
"""Characters at the end of a draft's name that tell it from others of the same work."""
PARTIAL = ".partial-"
"""Drafts beside the artifact they are to be: of local roots."""
DRAFT = "dskd-draft-"
"""Drafts in the machine's temporary folder: of object stores."""
SPILL = "dskd-spill-"
"""Folders in the machine's temporary folder for what a query has no memory for."""


def partial_of(folder: Path) -> Path:
    """Return a name beside the folder of an artifact that no artifact and no other draft has."""
    return folder.with_name(f"{PARTIAL}{folder.name}-{uuid.uuid4().hex[:N_RANDOM]}")


@dataclass
class Draft:
    """An artifact in the making: a private local folder, and what its record will say."""

    folder: Path
    counts: dict[str, int] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    precision: str = ""
    processor: str = ""
    _stores: list["_DraftStore"] = field(default_factory=list, repr=False)

    def computed(self, precision: str, processor: object) -> None:
        """Note for the record what the result was computed in, and on."""
        self.precision, self.processor = precision, str(processor)

    def computed_as(self, shards: Iterable[Any]) -> None:
        """Note the same of what was joined: of each of the artifacts, once.

        Shards of several processors are told of in the log and in the record: their last bits
        differ as those of the processors do, and no other run gives these bytes.

        Raises:
            ArtifactError: if some were computed in another precision than others.
        """
        joined = list(shards)
        precisions = Counter(shard.record.precision for shard in joined if shard.record.precision)
        processors = Counter(shard.record.processor for shard in joined if shard.record.processor)
        self.precision, self.processor = (", ".join(sorted(c)) for c in (precisions, processors))
        if len(precisions) > 1:
            fewest = min(precisions, key=lambda name: (precisions[name], name))
            odd = next(shard for shard in joined if shard.record.precision == fewest)
            raise ArtifactError(
                f"The shards of one artifact were computed in {_counted(precisions)}, on "
                f"{_counted(processors)}, and their states cannot be compared; name the precision "
                f"in the settings instead of auto, delete those in {fewest} (the first is "
                f"{odd.uri}) and run again."
            )
        if len(processors) > 1:
            _log.warning(
                "Shards of one artifact were computed on %s: the last bits of their values differ "
                "as those of the processors do.",
                _counted(processors),
            )

    def path(self, name: str) -> Path:
        """Return the local path of a file to write."""
        return self.folder / name

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write a Parquet file whose bytes depend on the rows alone."""
        pq.write_table(table, self.path(name), compression="zstd")

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file for people and machines."""
        self.path(name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")

    def write_group(self, name: str) -> zarr.Group:
        """Create a Zarr v3 group to write arrays into."""
        self._stores.append(_DraftStore(self.path(name)))
        return zarr.create_group(self._stores[-1], zarr_format=3)

    def close(self) -> None:
        """Wait for the writes that have begun into its groups, and refuse those that have not."""
        for store in self._stores:
            store.close_for_writing()


def _counted(names: Counter[str]) -> str:
    """Return names with how often each is there.

    >>> _counted(Counter(["an H200", "an A100", "an H200"]))
    'an A100 (1) and an H200 (2)'
    """
    return " and ".join(f"{name} ({n})" for name, n in sorted(names.items()))


class Hold:
    """Knows one folder again, whatever was made under its name since.

    A writer that was paused for long may find its draft swept; some libraries then make the folder
    anew, with what was written last alone in it.
    """

    def __init__(self, folder: Path) -> None:
        # While it is open, no other folder can be given its number.
        self._descriptor = os.open(folder, os.O_RDONLY)

    def is_at(self, place: str | Path) -> bool:
        """Say whether the folder stands under this name."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), Path(place).stat())
        except OSError:
            return False

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)


class _DraftStore(LocalStore):  # type: ignore[misc]
    """A local store that can be closed for writing.

    When the write of one chunk fails, zarr raises at once and leaves the writes of others running
    in its own threads: they would make the folder of a draft again that was just removed.
    """

    def __init__(self, root: Path | str, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self._state = threading.Condition()
        self._n_writes, self._is_closed = 0, False

    async def set(self, key: str, value: Buffer) -> None:
        with self._write():
            await super().set(key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        with self._write():
            await super().set_if_not_exists(key, value)

    @contextlib.contextmanager
    def _write(self) -> Iterator[None]:
        with self._state:
            if self._is_closed:
                raise FileNotFoundError(f"The draft {self.root} is finished or given up.")
            self._n_writes += 1
        try:
            yield
        finally:
            with self._state:
                self._n_writes -= 1
                self._state.notify_all()

    def close_for_writing(self) -> None:
        with self._state:
            self._is_closed = True
            self._state.wait_for(lambda: self._n_writes == 0)
