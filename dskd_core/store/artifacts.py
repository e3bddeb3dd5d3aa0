"""Artifacts: one folder per finished piece of work, found by what it was made from.

An artifact stands at ``ROOT/STAGE/FINGERPRINT`` where the fingerprint is a hash of the stage, its
settings and the fingerprints of its inputs. So the address is known before the work starts: a
rerun finds its work done, and another teacher or another k has another address. ``record.json``
says how it was made and carries the SHA-256 of every file; it is written last, so a folder
without a record is no artifact.

A draft is always a local folder. Publishing renames it (local root) or uploads it with the record
last (``s3://``). Killed work leaves a ``.partial-*`` folder and nothing else.

What is read through an :class:`Artifact` is compared with its record (integrity.py).
"""

import contextlib
import errno
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from dskd_core.errors import ArtifactError
from dskd_core.store import integrity, places, trial
from dskd_core.store.drafts import DRAFT, PARTIAL, Draft, Hold, partial_of
from dskd_core.store.records import (
    MAX_RECORD_BYTES,
    RECORD,
    Record,
    Work,
    check_record,
    fingerprint_of,
    parse_record,
)
from dskd_core.store.versions import of_another_version, tool_versions

__all__ = [
    "PARTIAL",
    "RECORD",
    "Artifact",
    "ArtifactStore",
    "Draft",
    "Record",
    "Work",
    "fingerprint_of",
    "tool_versions",
]

_STALE_SECONDS = 7 * 24 * 3600


@dataclass(frozen=True)
class Artifact:
    """A published artifact: its place and its record."""

    uri: str
    record: Record

    @property
    def fingerprint(self) -> str:
        """The fingerprint other work names it by."""
        return self.record.fingerprint

    @property
    def root_uri(self) -> str:
        """The root that it stands under."""
        return self.uri.rsplit("/", 2)[0]

    def file_uri(self, name: str) -> str:
        """Return the place of one of its files or folders."""
        return places.join_path(self.uri, name)

    def group(self, name: str) -> zarr.Group:
        """Open one of its Zarr groups for reading.

        Raises:
            ArtifactError: now if its metadata is damaged or a link; on reading if a chunk is, or if
                the record does not name it.
        """
        store = places.zarr_store(self.file_uri(name))
        checked = integrity.CheckedStore(store, self.uri, name, self.record.files, self._made_by)
        try:
            return zarr.open_group(checked, mode="r", zarr_format=3, use_consolidated=False)
        except FileNotFoundError:
            if any(file.startswith(f"{name}/") for file in self.record.files):
                raise integrity.damage(self.uri, name, "is missing") from None
            raise of_another_version(self.uri, name, self._made_by) from None

    def folder(self, *, weights: bool = False) -> Path:
        """Return a local folder with its files; a remote artifact is downloaded once.

        Args:
            weights: compare the safetensors files with the record, too: they are to be loaded.

        Raises:
            ArtifactError: if a file is absent, is not what the record says, is not in the record
                or is a link.
        """
        folder = self.unchecked_folder()
        try:
            self._check(folder, weights)
        except ArtifactError:
            if not places.is_remote(self.uri):
                raise
            shutil.rmtree(folder, ignore_errors=True)  # the copy was damaged, or of another time
            self._check(self.unchecked_folder(), weights)
        return folder

    def unchecked_folder(self) -> Path:
        """Return a local folder with its files, whatever state they are in."""
        try:
            return places.local_copy(self.uri, cache_folder(), [*self.record.files, RECORD])
        except FileNotFoundError as error:
            raise ArtifactError(
                f"{self.uri} lacks a file of its record ({error}); delete {self.uri} and run its "
                "stage again."
            ) from error

    def _check(self, folder: Path, weights: bool) -> None:
        integrity.check_only(self.uri, folder, self.record.files, {RECORD})
        for name, entry in self.record.files.items():
            if ".zarr/" not in name and (weights or not name.endswith(".safetensors")):
                integrity.check_file(self.uri, name, folder / name, entry)

    def read_bytes(self, name: str) -> bytes:
        """Read one of its files whole.

        Raises:
            ArtifactError: if it is absent, is not what the record says, or is a link.
        """
        entry = self._entry(name)
        try:
            content = places.read_bytes(self.file_uri(name))
        except FileNotFoundError:
            raise integrity.damage(self.uri, name, "is missing") from None
        integrity.check_bytes(self.uri, name, content, entry)
        return content

    def table(self, name: str) -> pa.Table:
        """Read one of its Parquet files.

        Raises:
            ArtifactError: if it is absent, is not what the record says, or is a link.
        """
        if places.is_remote(self.uri):
            return pq.read_table(pa.BufferReader(self.read_bytes(name)))
        return pq.read_table(self.checked_path(name))

    def checked_path(self, name: str) -> Path:
        """Return the path of one of a local artifact's files.

        Raises:
            ArtifactError: if it is absent, is not what the record says, or is a link.
        """
        path, entry = Path(self.file_uri(name)), self._entry(name)
        integrity.check_file(self.uri, name, path, entry)
        return path

    @property
    def _made_by(self) -> str:
        """The version of dskd that the record says; "" if none."""
        return self.record.versions.get("dskd", "")

    def _entry(self, name: str) -> dict[str, Any]:
        """Return what the record says of a file that is about to be read.

        Raises:
            ArtifactError: if it does not name it, or a link is there.
        """
        if name not in self.record.files and not places.exists(self.file_uri(name)):
            raise of_another_version(self.uri, name, self._made_by)
        entry = integrity.entry_of(self.uri, name, self.record.files)
        if not places.is_remote(self.uri):
            integrity.check_plain(self.uri, Path(self.uri), name)
        return entry

    def query(
        self, sql: str, parameters: dict[str, Any] | None = None, /, **tables: str | pa.Table
    ) -> pa.Table:
        """Run DuckDB SQL over its Parquet files (or other tables), each under its keyword.

        ``artifact.query("SELECT count(*) FROM pairs", pairs="pairs.parquet")``
        """
        with duckdb.connect() as connection:
            for name, source in tables.items():
                table = self.table(source) if isinstance(source, str) else source
                connection.register(name, table)
            return connection.sql(sql, params=parameters).to_arrow_table()


@dataclass(frozen=True)
class ArtifactStore:
    """All artifacts under one root, a folder or an ``s3://`` prefix."""

    root_uri: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "root_uri", places.check_root(self.root_uri))

    def uri(self, work: Work) -> str:
        """Return where the result of ``work`` stands, or will."""
        return places.join(self.root_uri, work.stage, work.fingerprint)

    def find(self, work: Work) -> Artifact | None:
        """Return the finished result of ``work``, or None."""
        uri = self.uri(work)
        return self.open(uri) if places.exists(places.join(uri, RECORD)) else None

    def get(self, stage: str, fingerprint: str) -> Artifact:
        """Return an artifact by its name.

        Raises:
            ArtifactError: if there is none; the message lists what the stage has.
        """
        uri = places.join(self.root_uri, stage, fingerprint)
        if not places.exists(places.join(uri, RECORD)):
            known = [n for n in places.list_names(places.join(self.root_uri, stage)) if n[0] != "."]
            raise ArtifactError(
                f"No artifact {stage}/{fingerprint} under {self.root_uri}; the {stage} there are "
                f"{', '.join(known) or 'none'}: name one of them or run the stage first."
            )
        return self.open(uri)

    @staticmethod
    def open(uri: str, *, check: bool = True) -> Artifact:
        """Open the artifact at ``uri``.

        With ``check`` a record that is damaged or of another artifact is refused.

        Raises:
            ArtifactError: if its record cannot be read, or is refused.
        """
        if not places.is_remote(uri):
            integrity.check_plain(uri, Path(uri), RECORD)
        try:
            content = places.read_bytes(places.join(uri, RECORD), limit=MAX_RECORD_BYTES)
            record = parse_record(content, uri)
        except (FileNotFoundError, NotADirectoryError, ValueError) as error:
            raise ArtifactError(
                f"{uri} has no readable {RECORD} ({error}); it was not published by dskd: "
                "delete the folder and run its stage again."
            ) from error
        if check:
            check_record(uri, record)
        return Artifact(uri, record)

    @staticmethod
    def exists(artifact: Artifact) -> bool:
        """Say whether an artifact still stands; another process may have discarded it."""
        return places.exists(places.join(artifact.uri, RECORD))

    def of_stage(self, stage: str) -> list[Artifact]:
        """Return the published artifacts of a stage, oldest first."""
        place = places.join(self.root_uri, stage)
        uris = [places.join(place, n) for n in places.list_names(place) if not n.startswith(".")]
        found = []
        for uri in uris:
            try:
                found.append(self.open(uri))
            except ArtifactError as error:
                # What has no record is not published yet, or not any more.
                if not isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
                    raise
        return sorted(found, key=lambda artifact: artifact.record.created_at)

    def shards_of(self, artifact: Artifact) -> list[Artifact]:
        """Return the shards that an artifact was joined from, as it names them; none if it was not.

        Raises:
            ArtifactError: if one is gone.
        """
        names = artifact.record.report.get("parts", ())
        return [self.get(f"{artifact.record.stage}-shard", name) for name in names]

    @staticmethod
    def discard(artifact: Artifact) -> None:
        """Delete an artifact: half deleted, it is already absent."""
        if not places.is_remote(artifact.uri):
            folder, aside = Path(artifact.uri), partial_of(Path(artifact.uri))
            places.remove(str(aside if places.move_aside(folder, aside) else folder))
            return
        places.remove(places.join(artifact.uri, RECORD))
        places.remove(artifact.uri)

    @contextlib.contextmanager
    def publish(self, work: Work, *, started: float | None = None) -> Iterator[Draft]:
        """Give a draft to fill, and publish it whole when the block ends without an error.

        ``started`` is the ``time.monotonic()`` from which the record counts its seconds, where
        the work began before there was anything to write.

        Raises:
            OSError: if the draft is gone: it was swept while this process was paused.
        """
        started = time.monotonic() if started is None else started
        uri, draft = self.uri(work), Draft(self._draft_folder(work))
        hold = Hold(draft.folder)
        try:
            yield draft
            self._write_record(uri, work, draft, time.monotonic() - started)
            self._commit(uri, draft, hold)
        except Exception as error:
            if places.is_full(error):
                raise places.full(draft.folder, error) from error
            if not hold.is_at(draft.folder) and not hold.is_at(uri):
                raise _swept(uri, draft) from error
            raise
        finally:
            draft.close()
            hold.close()
            shutil.rmtree(draft.folder, ignore_errors=True)

    def _draft_folder(self, work: Work) -> Path:
        if places.is_remote(self.root_uri):
            return Path(tempfile.mkdtemp(prefix=f"{DRAFT}{work.stage}-{work.fingerprint}-"))
        folder = partial_of(Path(self.root_uri) / work.stage / work.fingerprint)
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            if trial.is_final(error):
                raise trial.refusal(folder.parent, error, "The folder of a stage") from error
            raise
        now = folder.stat().st_mtime  # by the clock of the disk, which may not be this machine's
        for draft in folder.parent.glob(f"{PARTIAL}{work.fingerprint}-*"):
            if now - _last_change(draft) > _STALE_SECONDS:  # of a worker killed long ago, or paused
                aside = partial_of(folder.with_name(work.fingerprint))
                if places.move_aside(draft, aside):
                    shutil.rmtree(aside, ignore_errors=True)
        return folder

    @staticmethod
    def _write_record(uri: str, work: Work, draft: Draft, seconds: float) -> None:
        record = Record(
            stage=work.stage,
            fingerprint=work.fingerprint,
            config=work.config,
            inputs=work.inputs,
            counts=draft.counts,
            report=draft.report,
            files=places.described(draft.folder, flushed=not places.is_remote(uri)),
            seconds=round(seconds, 3),
            created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            versions=tool_versions(),
            precision=draft.precision,
            processor=draft.processor,
        )
        draft.write_json(RECORD, asdict(record.sealed()))

    @staticmethod
    def _commit(uri: str, draft: Draft, hold: Hold) -> None:
        if places.is_remote(uri):
            if not hold.is_at(draft.folder):
                raise _swept(uri, draft)
            places.upload_folder(draft.folder, uri, last=RECORD)
            return
        # The other files were flushed while they were hashed.
        places.flush(draft.path(RECORD))
        places.flush_folders(draft.folder)
        while not (Path(uri) / RECORD).exists():  # else another's bytes are as good as ours
            if not hold.is_at(draft.folder):
                raise _swept(uri, draft)
            try:
                draft.folder.rename(uri)
                places.flush(Path(uri).parent)
                return
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            # Another has just published, or a folder without a record is in the way. It is moved
            # before it is deleted: a third may have published there in the meantime.
            aside = partial_of(Path(uri))
            if places.move_aside(Path(uri), aside, unless=RECORD):
                shutil.rmtree(aside, ignore_errors=True)


def _swept(uri: str, draft: Draft) -> OSError:
    return FileNotFoundError(
        f"The draft {draft.folder} of {uri} was swept while this process was paused for longer "
        "than tidy waits (older_than_hours), and nothing is published; run again."
    )


def _last_change(folder: Path) -> float:
    """Return when a file of a draft was last written."""
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    except FileNotFoundError:  # published or given up just now: its worker is alive
        return math.inf


def cache_folder() -> Path:
    """Return where downloads are kept: ``DSKD_CACHE``, or a folder of the user's."""
    return Path(os.environ.get("DSKD_CACHE", Path.home() / ".cache" / "dskd"))
