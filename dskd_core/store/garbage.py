"""What killed work leaves behind: found by its name and its age, and swept; published work never.

Four kinds of garbage, and nothing else under a root is ever looked at twice:

    draft    ROOT/STAGE/.partial-FINGERPRINT-*, of a process killed while it wrote
    half     ROOT/STAGE/FINGERPRINT without record.json: an upload that broke off, or an artifact
             whose deletion did
    upload   parts of one large file in the object store, which no listing shows
    local    in this machine's temporary folder: a draft that was to be uploaded, or what a query
             had no memory for

A name that dskd does not give is left alone, whatever lies in it. So is a folder in which anything,
be it the folder itself, is younger than the limit: somebody may be writing there. And should its
writer have been paused for longer than that and go on at this very moment, it learns of the sweep:
a local folder is renamed before it is removed, so there is nothing left to publish, or it was
published first and stays; in an object store a key says that a sweep is at work, and whoever
publishes looks for it when its record stands (places.upload_folder).
"""

import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dskd_core.errors import ConfigError
from dskd_core.store import places
from dskd_core.store.drafts import DRAFT, N_RANDOM, PARTIAL, SPILL, partial_of
from dskd_core.store.records import FINGERPRINT, RECORD

MIN_HOURS = 1.0
_STAGE = re.compile(r"[a-z][a-z0-9-]*")
_PARTIAL = re.compile(re.escape(PARTIAL) + r"[0-9a-f]{16}-[0-9a-f]{8}")
_LOCAL = re.compile(rf"({DRAFT}[a-z0-9-]+-[0-9a-f]{{16}}-|{SPILL})[a-z0-9_]{{8}}")

Kind = Literal["draft", "half", "upload", "local"]


@dataclass(frozen=True)
class Garbage:
    """A folder, a prefix or an upload that nobody finished.

    Attributes:
        kind: draft, half, upload or local.
        uri: its place; for an upload the key it was to have.
        n_files: files in it; 0 for an upload, whose parts are not listed.
        n_bytes: bytes of these files.
        newest: seconds since 1970 when anything in it was last written.
        upload_id: the object store's name of an upload.
    """

    kind: Kind
    uri: str
    n_files: int
    n_bytes: int
    newest: float
    upload_id: str = ""


def find_garbage(
    root_uri: str, *, older_than_hours: float, now: float | None = None
) -> list[Garbage]:
    """Return what lies unfinished under a root, and in this machine's temporary folder.

    What was written to less than ``older_than_hours`` before ``now`` (the clock's if None) is left
    alone.

    Raises:
        ConfigError: if the limit is less than one hour: a shard may well write nothing for minutes.
    """
    if not older_than_hours >= MIN_HOURS:
        raise ConfigError(
            f"older_than_hours {older_than_hours} is less than {MIN_HOURS:.0f}: work that is going "
            "on could be swept; give 1 or more (24 is usual)."
        )
    limit = (time.time() if now is None else now) - older_than_hours * 3600
    root_uri = places.check_root(root_uri)
    inside = _remote(root_uri) if places.is_remote(root_uri) else _local(Path(root_uri))
    found = [*inside, *_temporary(Path(tempfile.gettempdir()))]
    return sorted((g for g in found if g.newest < limit), key=lambda g: (g.kind, g.uri))


def sweep(garbage: Iterable[Garbage]) -> list[Garbage]:
    """Delete what :func:`find_garbage` found, and return what was deleted.

    Each is looked at again first: what was published or written to meanwhile is left alone. In an
    object store this is done key by key, since a retry may begin to write the same prefix.
    """
    return [g for g in garbage if (_sweep_remote if places.is_remote(g.uri) else _sweep_local)(g)]


def _local(root: Path) -> Iterator[Garbage]:
    for stage in _folders(root):
        if not _STAGE.fullmatch(stage.name):
            continue
        for folder in _folders(stage):
            if _PARTIAL.fullmatch(folder.name):
                yield _folder("draft", folder)
            elif FINGERPRINT.fullmatch(folder.name) and not (folder / RECORD).exists():
                yield _folder("half", folder)


def _temporary(temporary: Path) -> Iterator[Garbage]:
    for folder in _folders(temporary):
        if _LOCAL.fullmatch(folder.name) and folder.stat().st_uid == os.getuid():
            yield _folder("local", folder)


def _folders(place: Path) -> list[Path]:
    """Return the folders in ``place``; links are none."""
    if not place.is_dir():
        return []
    with os.scandir(place) as entries:
        return sorted(Path(e.path) for e in entries if e.is_dir(follow_symlinks=False))


def _folder(kind: Kind, folder: Path) -> Garbage:
    newest, n_files, n_bytes = folder.lstat().st_mtime, 0, 0
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            try:
                status = (Path(place) / name).lstat()
            except FileNotFoundError:  # somebody is at work here
                newest = time.time()
                continue
            newest = max(newest, status.st_mtime)
            if name in files:
                n_files, n_bytes = n_files + 1, n_bytes + status.st_size
    return Garbage(kind, str(folder), n_files, n_bytes, newest)


def _sweep_local(garbage: Garbage) -> bool:
    folder = Path(garbage.uri)
    if not folder.is_dir() or folder.is_symlink():
        return False
    if _folder(garbage.kind, folder).newest > garbage.newest:
        return False
    # Each has a name that is looked for: if this process is killed now, the next sweep finds it.
    aside = folder.with_name(f"{folder.name[:-N_RANDOM]}{uuid.uuid4().hex[:N_RANDOM]}")
    if garbage.kind == "half":
        aside = partial_of(folder)
    if not places.move_aside(folder, aside, unless=RECORD if garbage.kind == "half" else None):
        return False
    shutil.rmtree(aside)
    return True


def _remote(root_uri: str) -> Iterator[Garbage]:
    for uri, files in _by_prefix(root_uri).items():
        if RECORD not in files:
            yield Garbage(
                "half",
                uri,
                len(files),
                sum(int(info["size"]) for info in files.values()),
                max(_written(info) for info in files.values()),
            )
    fs, root = places.filesystem(root_uri)
    bucket, _, prefix = root.partition("/")
    for upload in fs.list_multipart_uploads(bucket):
        key = str(upload["Key"])
        below = key.removeprefix(f"{prefix}/" if prefix else "")
        stage, name, *_ = [*below.split("/"), "", ""]
        ours = (below != key or not prefix) and _STAGE.fullmatch(stage)
        if ours and FINGERPRINT.fullmatch(name):
            began = upload["Initiated"].timestamp()
            yield Garbage("upload", f"s3://{bucket}/{key}", 0, 0, began, str(upload["UploadId"]))


def _by_prefix(uri: str) -> dict[str, dict[str, Any]]:
    """Return every artifact's prefix under a root with the description of each of its files."""
    fs, root = places.filesystem(uri)
    fs.invalidate_cache()
    found: dict[str, dict[str, Any]] = {}
    for path, info in fs.find(root, detail=True).items():
        stage, name, *rest = [*str(path).removeprefix(f"{root}/").split("/"), "", ""]
        if _STAGE.fullmatch(stage) and FINGERPRINT.fullmatch(name):
            file = "/".join(part for part in rest if part)
            found.setdefault(f"{uri.rstrip('/')}/{stage}/{name}", {})[file] = info
    return found


def _written(info: dict[str, Any]) -> float:
    return float(info["LastModified"].timestamp())


def _sweep_remote(garbage: Garbage) -> bool:
    fs, path = places.filesystem(garbage.uri)
    if garbage.kind == "upload":
        bucket, _, key = path.partition("/")
        fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=garbage.upload_id)
        return True
    sign = f"{path}/{places.SWEPT}"
    if fs.exists(f"{path}/{RECORD}"):
        return False
    fs.pipe_file(sign, b"")  # before the record is looked for: one of the two sees the other
    try:
        return all(_sweep_key(fs, path, file, garbage.newest) for file in fs.find(path))
    finally:
        fs.rm_file(sign)


def _sweep_key(fs: Any, path: str, file: str, newest: float) -> bool:
    """Delete one file of an unfinished upload; False if it is one no more, or goes on."""
    if file == f"{path}/{places.SWEPT}":
        return True
    fs.invalidate_cache()
    if fs.exists(f"{path}/{RECORD}"):
        return False
    try:
        if _written(fs.info(file)) > newest:
            return False
    except FileNotFoundError:
        return True
    fs.rm_file(file)
    return True
