"""A dictionary from a dataset repository of the hub: known files, at a commit, each checked.

Nothing of the repository is believed before it is compared: names are those of a dictionary's
files and no others, sizes are those of its record, arrays are uncompressed and no larger than
their chunks, and the whole is verified as ``dskd verify`` would, before anything is read from it.
"""

import json
import math
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from dskd_core.errors import ArtifactError, DataError
from dskd_core.store import hub as hubs
from dskd_core.store.artifacts import RECORD, Artifact, ArtifactStore, cache_folder
from dskd_core.store.verification import verify

STAGE = "dictionary"
MAX_RECORD_BYTES = 1 << 25
_ARRAY = r"dictionary\.zarr/(?:rows|own_offsets|(?:synonym|antonym)_(?:offsets|rows))"
_FILE = re.compile(
    rf"{re.escape(RECORD)}|README\.md|words\.parquet|dictionary\.zarr/zarr\.json"
    rf"|{_ARRAY}/(?:zarr\.json|c/\d{{1,9}}(?:/\d{{1,9}})?)"
)
_TYPES = ("float16", "float32", "int32", "int64")


def is_dictionary_file(path: str) -> bool:
    """Say whether a path of a repository is one that a dictionary has."""
    return _FILE.fullmatch(path) is not None


def fetch_dictionary(place: str, *, hub: Any = None) -> Artifact:
    """Return the dictionary of ``hub:OWNER/NAME@COMMIT``; it is downloaded once.

    Without a commit, or with a branch or tag, the hub is asked for the commit, which is said in the
    log. Downloads lie in ``DSKD_CACHE``; one that is there needs no hub if its commit is named.

    ``hub`` is a ``huggingface_hub.HfApi``, the default client if None.

    Raises:
        ConfigError: if ``place`` names no repository with its owner.
        DataError: if it holds anything but the files of one dictionary.
        ArtifactError: if a file is not what its record says, the record is damaged, or the hub
            does not give it.
        CapacityError: if the disk has no place for it.
    """
    if not place.startswith(hubs.PREFIX):
        place = f"{hubs.PREFIX}{place}"
    name, _, revision = place.removeprefix(hubs.PREFIX).partition("@")
    hubs.check_name(name)
    if found := _downloaded(name, revision):
        return found
    listing = hubs.list_dataset(place, is_known=is_dictionary_file, hub=hub)
    if found := _downloaded(name, listing.commit):
        return found
    target = _target(name, listing.commit)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=target) as partial:
        folder = _download(listing, Path(partial), hub)
        if not (target / folder.name).exists():
            try:
                folder.rename(target / folder.name)
            except OSError:
                if not (target / folder.name).exists():  # else another process was faster
                    raise
    return ArtifactStore.open(str(target / folder.name))


def _target(name: str, commit: str) -> Path:
    return cache_folder() / "hub" / name.replace("/", "--") / commit / STAGE


def _downloaded(name: str, commit: str) -> Artifact | None:
    """Return the dictionary of a commit if it has been downloaded."""
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        return None
    found = [path for path in _target(name, commit).glob("[0-9a-f]*") if path.is_dir()]
    return ArtifactStore.open(str(found[0])) if len(found) == 1 else None


def _download(listing: hubs.Listing, partial: Path, hub: Any) -> Path:
    """Download and check a dictionary; return its folder, ``partial/dictionary/FINGERPRINT``."""
    size = listing.sizes.get(RECORD)
    if size is None or size > MAX_RECORD_BYTES:
        raise DataError(
            f"{hubs.PREFIX}{listing.name} has no {RECORD} of at most {MAX_RECORD_BYTES:,} bytes at "
            f"commit {listing.commit}, so is no dictionary; name one that dskd pushed."
        )
    staged = partial / "staged"
    staged.mkdir()
    hubs.fetch(listing, [RECORD], staged, hub=hub)
    record = _checked_record(listing, staged)
    hubs.fetch(listing, [name for name in listing.sizes if name != RECORD], staged, hub=hub)
    folder = partial / STAGE / record
    folder.parent.mkdir()
    staged.rename(folder)
    for name in listing.sizes:
        if re.fullmatch(rf"{_ARRAY}/zarr\.json", name):
            _check_array(listing, folder, name)
    if problems := verify(str(folder), alone=True).problems:
        first = problems[0]
        raise ArtifactError(
            f"{hubs.PREFIX}{listing.name} is damaged at commit {listing.commit}: {first.where} "
            f"{first.what} ({len(problems)} problems); name another commit, or have its owner push "
            "it again."
        )
    return folder


def _checked_record(listing: hubs.Listing, folder: Path) -> str:
    """Compare the record with itself and with the files that are there; return its fingerprint."""
    try:
        record = ArtifactStore.open(str(folder)).record
        said = {name: int(entry["bytes"]) for name, entry in record.files.items()}
        stage = record.stage
    except ArtifactError as error:  # whose sentence is of a folder that is not there any more
        raise ArtifactError(
            f"{hubs.PREFIX}{listing.name} has a damaged {RECORD} at commit {listing.commit}; name "
            "another commit, or have its owner push it again."
        ) from error
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(
            f"{hubs.PREFIX}{listing.name} has a {RECORD} that is none ({type(error).__name__}); "
            "name a repository that dskd pushed."
        ) from error
    there = {name: size for name, size in listing.sizes.items() if name != RECORD}
    if stage != STAGE or said != there:
        differing = sorted(
            name for name in said.keys() | there.keys() if said.get(name) != there.get(name)
        )
        raise DataError(
            f"{hubs.PREFIX}{listing.name} is a {stage!r} whose {RECORD} says otherwise of "
            f"{', '.join(differing[:3]) or 'its stage'}; have its owner push it again."
        )
    return record.fingerprint


def _check_array(listing: hubs.Listing, folder: Path, name: str) -> None:
    """Refuse an array that would take more memory than its chunks have bytes."""
    try:
        said = json.loads((folder / name).read_bytes())
        codecs = [codec["name"] for codec in said["codecs"]]
        kind, shape = said["data_type"], said["shape"]
        n_bytes = math.prod(shape) * np.dtype(kind).itemsize
        is_plain = codecs == ["bytes", "crc32c"] and kind in _TYPES and min(shape) >= 0
    except (KeyError, TypeError, ValueError, RecursionError):
        is_plain, n_bytes = False, 0
    chunks = f"{name.removesuffix('zarr.json')}c/"
    there = sum(size for path, size in listing.sizes.items() if path.startswith(chunks))
    if not is_plain or n_bytes > there:
        raise DataError(
            f"{hubs.PREFIX}{listing.name} has the array {name} of {n_bytes:,} bytes in chunks of "
            f"{there:,}, or one that dskd does not write; have its owner push it again."
        )
