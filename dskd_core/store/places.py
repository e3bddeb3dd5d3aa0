"""Places: a local folder or an ``s3://`` prefix behind the same few verbs.

Credentials never pass through here: s3fs reads them, and the endpoint, from the environment
(``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_ENDPOINT_URL``).
"""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
from fsspec.core import url_to_fs

from dskd_core import interruption
from dskd_core.errors import ConfigError, causes_of
from dskd_core.store import access

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
N_THREADS = 8
_PIECE_BYTES = 1 << 20
SWEPT = "swept"
"""The key beside an unfinished upload that says a sweep is deleting it."""
_DOWNLOAD = ".partial"
_STALE_SECONDS = 24 * 3600
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_WORDS = ("No space left on device", "StorageFull", "File too large")


def check_root(root_uri: str) -> str:
    """Return where ``root_uri`` leads: an absolute path, or an ``s3://`` prefix without a slash.

    Raises:
        ConfigError: if it is no place to keep artifacts, or this process may not write there.
    """
    return access.check_writable(root_uri, "root_uri")


def is_remote(uri: str) -> bool:
    """Say whether ``uri`` lies outside the local file system."""
    return "://" in uri


def join(uri: str, *names: str) -> str:
    """Append plain names to ``uri``; a name from a record can never climb out of it.

    >>> join("s3://bucket/root", "senses", "0f3a")
    's3://bucket/root/senses/0f3a'

    Raises:
        ConfigError: if a name has a slash, starts with a dot, or is empty.
    """
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigError(
                f"{name!r} is not a plain name; use letters, digits, dots, dashes and underscores."
            )
    return "/".join((uri.rstrip("/"), *names))


def join_path(uri: str, relative: str) -> str:
    """Append a relative path such as ``senses.zarr/tokens/c/0``, each part a plain name."""
    return join(uri, *relative.split("/"))


def filesystem(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the file system that holds ``uri`` and the path of ``uri`` in it.

    Listings of an object store are not kept: another process may publish at any time.

    Raises:
        ConfigError: if this process may not read there.
    """
    access.check_readable(uri)
    options = {"use_listings_cache": False} if is_remote(uri) else {}
    fs, path = url_to_fs(uri, **options)
    return fs, path


def exists(uri: str) -> bool:
    """Say whether a file or folder stands at ``uri``; a remote listing is never cached."""
    fs, path = filesystem(uri)
    fs.invalidate_cache()
    return bool(fs.exists(path))


def read_bytes(uri: str, *, limit: int | None = None) -> bytes:
    """Return the whole content of the file at ``uri``.

    Raises:
        ValueError: if it has more than ``limit`` bytes.
    """
    fs, path = filesystem(uri)
    if limit is not None and (n_bytes := fs.size(path) or 0) > limit:
        raise ValueError(f"{n_bytes:,} bytes are more than {limit:,}")
    return bytes(fs.cat_file(path))


def list_names(uri: str) -> list[str]:
    """Return the sorted names directly under ``uri``; an absent folder has none."""
    fs, path = filesystem(uri)
    fs.invalidate_cache()
    if not fs.exists(path):
        return []
    return sorted(entry.rstrip("/").rsplit("/", 1)[-1] for entry in fs.ls(path, detail=False))


def remove(uri: str) -> None:
    """Delete the file or folder at ``uri``, if there is one."""
    fs, path = filesystem(uri)
    with contextlib.suppress(FileNotFoundError):
        fs.rm(path, recursive=True)


def move_aside(folder: Path, aside: Path, *, unless: str | None = None) -> bool:
    """Give a folder a name that nobody writes to or reads, in one step; it can be removed then.

    Whoever still writes to it by its old name finds nothing there, where a folder that is removed
    file by file might be published half empty.

    Returns:
        Whether it was moved; a folder that is gone, or holds ``unless``, was not.
    """
    if unless and (folder / unless).exists():
        return False
    try:
        folder.rename(aside)
    except FileNotFoundError:
        return False
    if unless and (aside / unless).exists():  # published between the look and the move
        try:
            aside.rename(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return True  # once more meanwhile, and the other's bytes are as good
        return False
    return True


def upload_folder(folder: Path, uri: str, *, last: str) -> None:
    """Copy the files of ``folder`` under ``uri``, the file named ``last`` after all others.

    The file named ``last`` is the commit marker: a reader that sees it sees everything. When it
    stands, the others are looked for: a sweep (garbage.py) may have taken the first of them for
    the remains of killed work while this process was paused.

    Raises:
        OSError: if the object store does not answer, or a sweep was at work; nothing is published
            then.
    """
    fs, path = filesystem(uri)
    files = [*(f for f in files_under(folder) if f != last), last]
    for file in files:
        try:
            fs.put_file(str(folder / file), f"{path}/{file}")
        except Exception as error:
            raise OSError(
                f"The upload of {file} to {uri} broke off ({type(error).__name__}: {error}); "
                "nothing is published: see that the object store answers and run again."
            ) from error
    fs.invalidate_cache()
    standing = {str(name).removeprefix(f"{path}/") for name in fs.find(path)}
    if SWEPT in standing or not standing.issuperset(files):
        fs.rm_file(f"{path}/{last}")
        raise OSError(
            f"A sweep took the unfinished upload to {uri} for that of a killed process, and "
            "nothing is published: run again; should this be said again while no tidy runs, "
            f"delete {uri}/{SWEPT} first."
        )


def local_copy(uri: str, cache: Path, names: Sequence[str]) -> Path:
    """Return a local path with the content of ``uri``: itself, or a download kept in ``cache``.

    Processes may share the cache. No listing is asked for ``names``: it might be out of date.

    Raises:
        ConfigError: if this process may not read there, or a name could climb out of the copy.
        OSError: if the object store does not answer or the disk of the cache is full.
    """
    if not is_remote(uri):
        access.check_readable(uri)
        return Path(uri)
    for name in names:
        join_path(uri, name)
    target = cache / hashlib.sha256(uri.encode()).hexdigest()[:16]
    if target.exists():
        return target
    for left in cache.glob(f"{target.name}.*{_DOWNLOAD}"):
        with contextlib.suppress(FileNotFoundError):  # another process has just finished it
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                aside = _download(target)  # it is of a process killed long ago, or paused
                if move_aside(left, aside):
                    shutil.rmtree(aside, ignore_errors=True)
    fs, path = filesystem(uri)
    partial = _download(target)
    try:
        partial.mkdir(parents=True)
        for name in names:
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
        fs.get([f"{path}/{name}" for name in names], [str(partial / name) for name in names])
        if absent := [name for name in names if not (partial / name).exists()]:
            raise OSError(
                f"The download of {uri} lost {absent[0]} to another process, which took it for "
                "that of a killed one; run again."
            )
        partial.rename(target)
    except Exception as error:
        if is_full(error):
            raise full(cache, error) from error
        if not target.exists():  # else another process was faster; its copy is as good
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _download(target: Path) -> Path:
    return target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}{_DOWNLOAD}")


def is_full(error: BaseException | None) -> bool:
    """Say whether an exception, or one behind it, says that a disk or quota is full.

    Libraries that are not written in Python only say so in words.
    """
    return any(
        (isinstance(one, OSError) and one.errno in _FULL)
        or any(words in str(one) for words in _FULL_WORDS)
        for one in causes_of(error)
    )


def full(folder: Path, error: BaseException) -> OSError:
    """Return the error that says which disk is full, how full, and what was being written."""
    disk = shutil.disk_usage(folder if folder.exists() else folder.parent)
    n_bytes = sum((folder / name).stat().st_size for name in files_under(folder))
    return OSError(
        errno.ENOSPC,
        f"The disk of {folder} is full: {disk.free:,} of {disk.total:,} bytes are free and what "
        f"stands there has {n_bytes:,} ({error}); free more than that, or set another place, and "
        "run again. Nothing is published",
    )


def zarr_store(uri: str) -> Any:
    """Return the Zarr store at ``uri``, for reading.

    Arrays under ``s3://`` are read through s3fs, or through obstore where the environment says
    ``DSKD_S3_READER=obstore``; it was 1.4 to 2 times as fast here.

    Raises:
        ConfigError: if DSKD_S3_READER names anything else, or this process may not read there.
    """
    access.check_readable(uri)
    from zarr.storage import FsspecStore, LocalStore, ObjectStore

    if not is_remote(uri):
        return LocalStore(uri, read_only=True)
    if (reader := os.environ.get("DSKD_S3_READER", "s3fs")) == "obstore":
        from obstore.store import S3Store  # type: ignore[import-not-found]

        plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
        place = S3Store.from_url(uri, client_options={"allow_http": plain})
        return ObjectStore(place, read_only=True)
    if reader != "s3fs":
        raise ConfigError(f"DSKD_S3_READER is {reader!r}; set s3fs or obstore.")
    return FsspecStore.from_url(uri, read_only=True, storage_options={"use_listings_cache": False})


def files_under(folder: Path) -> list[str]:
    """Return the sorted relative posix paths of all files below ``folder``."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def described(folder: Path, *, flushed: bool) -> dict[str, dict[str, Any]]:
    """Return size and SHA-256 of every file below ``folder``, by relative path.

    Nobody writes to the folder any more. With ``flushed`` every file is brought to the disk
    meanwhile: the disk works while others are hashed.
    """

    def describe(name: str) -> dict[str, Any]:
        path = folder / name
        if flushed:
            flush(path)
        return {"bytes": path.stat().st_size, "sha256": sha256_of_file(path, stops=False)}

    names = files_under(folder)
    with ThreadPoolExecutor(N_THREADS) as pool:
        return dict(zip(names, pool.map(describe, names), strict=True))


def flush_folders(folder: Path) -> None:
    """Bring the names in ``folder`` and in all folders below it to the disk."""
    with ThreadPoolExecutor(N_THREADS) as pool:
        list(pool.map(flush, [folder, *(path for path in folder.rglob("*") if path.is_dir())]))


def flush(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a network file system without folders to flush
            raise
    finally:
        os.close(descriptor)


def sha256_of_file(path: Path, *, stops: bool = True) -> str:
    """Return the SHA-256 of a file in hexadecimal.

    Args:
        path: the file.
        stops: break off if the run is asked to stop: a file of holes may have 10^15 bytes. What is
            being published is hashed to its end.

    Raises:
        Interrupted: if so.
    """
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_PIECE_BYTES):
            if stops:
                interruption.check()
            digest.update(piece)
    return digest.hexdigest()
