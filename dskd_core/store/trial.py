"""A trial: whether a place takes files, found out before any work begins.

Permissions, mounts, quotas and a full disk cannot be read off a path, so the trial does what an
artifact does: it makes a folder, writes a file, brings it to the disk and renames it.
"""

import contextlib
import errno
import os
import shutil
import tempfile
import uuid
from pathlib import Path

from dskd_core.errors import CapacityError, ConfigError, DskdError
from dskd_core.store import places

_N_BYTES = 1 << 16
_FOR_GOOD = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EINVAL,
)
"""What a second try would meet again, where a full disk may have been tidied."""


def check_takes_files(uri: str, what: str) -> None:
    """Refuse a place in which nothing can be written now; nothing stays of the trial.

    A folder that is not there yet is not made: the nearest one above it is tried. Of an object
    store only a clear no is heard, since one that is away may return.

    Raises:
        ConfigError: if it cannot be written, and why.
        CapacityError: if its disk, or the quota, is full.
    """
    if places.is_remote(uri):
        return _try_remote(uri, what)
    path = Path(os.path.realpath(Path(uri).expanduser()))
    folder = path
    try:
        while not _is_there(folder):
            folder = folder.parent
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(folder, os.R_OK | os.X_OK if folder == path else os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        _try(folder)
    except OSError as error:
        raise refusal(path, error, what) from error


def check_can_be_read(uri: str, what: str) -> None:
    """Refuse a folder that cannot be looked into; one that is not there yet holds nothing.

    Of an ``s3://`` prefix nothing is asked.

    Raises:
        ConfigError: if it is a file, or may not be read and entered.
    """
    path = Path(os.path.realpath(Path(uri).expanduser()))
    if places.is_remote(uri):
        return
    part = _at_fault(path)
    wanted = os.R_OK | os.X_OK if part == path else os.X_OK
    if part.is_dir() and os.access(part, wanted):
        return
    why = f"may not be read and entered by this user (number {os.getuid()})"
    if not part.is_dir():
        why = "is a file and not a folder"
    raise ConfigError(
        f"{what} {str(path)!r} cannot be read: {part} {why}; have its owner allow it, or name "
        "another place."
    )


def refusal(path: Path, error: OSError, what: str) -> DskdError:
    """Return the refusal of a place that takes no files: which part of it is at fault, and why."""
    named = f"{what} {str(path)!r}"
    if places.is_full(error):
        return CapacityError(
            f"{named} takes no files: its disk or quota is full ({error.strerror}); free some of "
            "it or name a place on another disk."
        )
    part = _at_fault(path)
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR) and not part.is_dir():
        return ConfigError(
            f"{named} takes no files: {part} is a file and not a folder; move it away or name "
            "another place."
        )
    if error.errno == errno.EROFS:
        return ConfigError(
            f"{named} takes no files: {part} is on a file system mounted read-only; mount it for "
            "writing or name another place."
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return ConfigError(
            f"{named} takes no files: {part} may not be read, written and entered by this user "
            f"(number {os.getuid()}); have its owner allow it (chmod u+rwx, or chown), or name "
            "another place."
        )
    return ConfigError(
        f"{named} takes no files: {part} refuses them ({error.strerror or error}); name another "
        "place."
    )


def is_final(error: OSError) -> bool:
    """Say whether a place that answers so will answer so again."""
    return error.errno in _FOR_GOOD


def _try(folder: Path) -> None:
    made = Path(tempfile.mkdtemp(prefix=".dskd-trial-", dir=folder))
    try:
        first, last = made / "first", made / "last"
        first.write_bytes(os.urandom(_N_BYTES))
        places.flush(first)
        first.rename(last)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _try_remote(uri: str, what: str) -> None:
    from botocore.exceptions import NoCredentialsError  # type: ignore[import-untyped]

    fs, path = places.filesystem(uri)
    key = f"{path}/.dskd-trial-{uuid.uuid4().hex[:8]}"
    try:
        fs.pipe_file(key, b"trial")
        fs.rm_file(key)
    except (FileNotFoundError, PermissionError, NoCredentialsError) as error:
        raise ConfigError(
            f"{what} {uri!r} takes no objects ({type(error).__name__}: {error}); see that its "
            "bucket is there and that AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY may write to "
            "it, or name another place."
        ) from error
    except Exception:  # the store is away: a task tries again
        return


def _is_there(path: Path) -> bool:
    """Say whether something stands at ``path``, a link that leads nowhere among it."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except NotADirectoryError:  # a file stands further up
        return False
    return True


def _at_fault(path: Path) -> Path:
    """Return the part of a path that stands in the way: the lowest one that can be seen."""
    for part in (path, *path.parents):
        with contextlib.suppress(OSError):
            part.lstat()
            return part
    return path
