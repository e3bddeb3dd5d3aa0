"""Repositories of a model hub: folders pushed to them, files fetched from them at one commit.

Credentials are the hub client's own (``HF_TOKEN`` or its login), never a setting of ours, and no
message of ours repeats an address or a header. What a repository holds is somebody else's: names
and sizes are judged before anything is downloaded.
"""

import logging
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dskd_core.errors import (
    ArtifactError,
    CapacityError,
    ConfigError,
    DataError,
    DskdError,
    causes_of,
)
from dskd_core.store import access, places

Kind = Literal["model", "dataset"]
PREFIX = "hub:"
MAX_FILES = 100_000
MAX_BYTES = 1 << 38
"""A dictionary of 70,000 tokens, 10 senses and width 4,096 has 6 GB; this is 40 times as much."""
_FULL_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_OF_THE_HUB = {".gitattributes"}
_log = logging.getLogger(__name__)


def client(hub: Any = None) -> Any:
    """Return a ``huggingface_hub.HfApi``: the given one, or the default."""
    if hub is not None:
        return hub
    from huggingface_hub import HfApi

    return HfApi()


def check_name(repository: str) -> None:
    """Refuse what names no repository with its owner.

    Raises:
        ConfigError: if it does not.
    """
    if not _FULL_NAME.fullmatch(repository) or ".." in repository:
        raise ConfigError(f"{repository!r} names no repository of the hub; give OWNER/NAME.")


def push_folder(
    folder: Path,
    repository: str,
    *,
    kind: Kind,
    message: str,
    branch: str | None = None,
    is_replaced: Callable[[str], object] | None = None,
    hub: Any = None,
) -> Any:
    """Upload a folder to a repository, which is made, private, if there is none.

    All of it comes with one commit, so no revision has a part of it: the client's own upload of a
    folder makes several of more than 250 files. A push that broke off is repeated: what was
    uploaded is not sent again.

    Args:
        folder: its files; links are followed.
        repository: ``owner/name``.
        kind: of the repository.
        message: of the commit.
        branch: made if there is none; the main one if None.
        is_replaced: says of a file there that is not uploaded anew whether it goes; one that does
            not is refused. None keeps all.
        hub: a ``huggingface_hub.HfApi``; the default client if None.

    Returns:
        What the client says of the commit. Equal files give no new one.

    Raises:
        DataError: if the repository has a file that may not go, before anything is uploaded.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    hub = client(hub)
    hub.create_repo(repository, repo_type=kind, private=True, exist_ok=True)
    if branch:
        hub.create_branch(repository, repo_type=kind, branch=branch, exist_ok=True)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    added = {path.relative_to(folder).as_posix(): path for path in paths}
    gone: list[str] = []
    if is_replaced:
        there = hub.list_repo_files(repository, repo_type=kind, revision=branch)
        gone = sorted(set(there) - added.keys() - _OF_THE_HUB)
        if strangers := [name for name in gone if not is_replaced(name)]:
            raise DataError(
                f"{repository} has {strangers[0]!r}, which would stand beside what is pushed and "
                "is none of it; take it out, or push to a repository of its own."
            )
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        *(CommitOperationDelete(name) for name in gone),
        *(CommitOperationAdd(name, path) for name, path in added.items()),
    ]
    return hub.create_commit(
        repository, operations, repo_type=kind, revision=branch, commit_message=message
    )


@contextmanager
def told_in_a_sentence(what: str, cure: str) -> Iterator[None]:
    """Say in one sentence what a hub or the way to it did not do, for who waits at a terminal.

    No address is repeated: storage is reached by signed ones. Refusals of ours, and what the disk
    or the memory of this machine does not give, pass as they are. ``what``, which was not done,
    begins the sentence and ``cure`` ends it.

    Raises:
        ArtifactError: instead of what the client raised.
    """
    try:
        yield
    except (DskdError, MemoryError):
        raise
    except Exception as error:  # the client's, HTTP's and Xet's have no class in common
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ArtifactError(f"{what} ({_reason(error)}); {cure}") from error


def _reason(error: BaseException) -> str:
    for cause in causes_of(error):
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if status is not None:
            return f"{type(cause).__name__}, status {status}"
    line = next(iter(str(error).splitlines()), "").rstrip(".")
    name = type(error).__name__
    return f"{name}: {line}" if line and "://" not in line else name


@dataclass(frozen=True)
class Listing:
    """A dataset repository at one commit.

    Attributes:
        name: ``owner/name``.
        commit: 40 hexadecimal digits.
        sizes: bytes of every file, by its path.
    """

    name: str
    commit: str
    sizes: dict[str, int]


def list_dataset(place: str, *, is_known: Callable[[str], object], hub: Any = None) -> Listing:
    """Look at ``hub:OWNER/NAME`` or ``hub:OWNER/NAME@REVISION``; nothing is downloaded.

    A place without a commit is resolved to one, which is said in the log. ``is_known`` says of a
    path whether it is one of those expected.

    Raises:
        ConfigError: if ``place`` names no repository with its owner.
        DataError: if a file is none of those expected, or files are too many or too large.
        ArtifactError: if the hub does not say.
    """
    name, _, revision = place.removeprefix(PREFIX).partition("@")
    check_name(name)
    access.check_revision(revision or None, f"The revision of {PREFIX}{name}")
    with told_in_a_sentence(
        f"The hub does not say what {place} has",
        "see the name, that HF_TOKEN may read it and that the hub can be reached, and load it "
        "again.",
    ):
        info = client(hub).dataset_info(name, revision=revision or None, files_metadata=True)
    commit = str(info.sha)
    if not _COMMIT.fullmatch(commit):
        raise DataError(f"{place} is at {commit!r}, which is no commit; give a hub of git.")
    if revision != commit:
        _log.warning("%s is at commit %s; %s%s@%s pins it.", place, commit, PREFIX, name, commit)
    sizes = {str(file.rfilename): file.size for file in info.siblings or ()}
    for path in _OF_THE_HUB:
        sizes.pop(path, None)
    if strangers := sorted(path for path in sizes if not is_known(path)):
        raise DataError(
            f"{PREFIX}{name} has {strangers[0]!r} at commit {commit}, which is no file of a "
            "dictionary; have its owner take it out, or name a commit without it."
        )
    if any(not isinstance(size, int) or size < 0 for size in sizes.values()):
        raise DataError(f"{PREFIX}{name} has files without a size; have its owner push it again.")
    if len(sizes) > MAX_FILES or sum(sizes.values()) > MAX_BYTES:
        raise DataError(
            f"{PREFIX}{name} has {len(sizes):,} files of {sum(sizes.values()):,} bytes, more than "
            f"{MAX_FILES:,} or {MAX_BYTES:,}; download it by hand and open its folder."
        )
    return Listing(name, commit, sizes)


def fetch(listing: Listing, names: list[str], folder: Path, *, hub: Any = None) -> None:
    """Download files of a dataset repository as plain files below ``folder``.

    The folder is empty, and gets no other file.

    Raises:
        CapacityError: if the disk has no place for them.
        ArtifactError: if the hub does not give one, or gives less than it said.
    """
    n_bytes, free = sum(listing.sizes[name] for name in names), shutil.disk_usage(folder).free
    if n_bytes > free:
        raise CapacityError(
            f"{PREFIX}{listing.name} has {n_bytes:,} bytes and the disk of {folder} {free:,}; free "
            "some, or set DSKD_CACHE to another."
        )
    hub = client(hub)

    def get(name: str) -> None:
        hub.hf_hub_download(
            listing.name, name, repo_type="dataset", revision=listing.commit, local_dir=folder
        )

    told = told_in_a_sentence(
        f"{PREFIX}{listing.name} did not come whole at commit {listing.commit}",
        "load it again, and if it stays so, name another commit or have its owner push it again; "
        "nothing of it is kept.",
    )
    with told, ThreadPoolExecutor(places.N_THREADS) as pool:
        list(pool.map(get, names))
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the client's own notes
