"""What is read is what was published, or it is refused by name.

The record of an artifact carries the SHA-256 of every file. Files that are read whole (Parquet,
JSON, safetensors) are compared with it, once a process; so is the metadata of Zarr arrays. A chunk
is compared with its size and with the CRC-32C it ends in, which is ten times as fast, and a chunk
that is absent is refused, where zarr would read zeros.

What the record does not name is not read, and an artifact holds no links: whoever writes one could
otherwise have a file from elsewhere returned as its data. Arrays are Zarr v3 with the codecs that
dskd writes, so no filter of another version is ever looked up by a name that a file gives.
"""

import hashlib
import json
import os
from collections.abc import AsyncGenerator, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, WrapperStore

from dskd_core.errors import ArtifactError
from dskd_core.store.places import sha256_of_file

Entry = dict[str, Any]
_CRC_BYTES = 4
_METADATA = "zarr.json"
_CODECS = (["bytes", "crc32c"], ["bytes", "zstd"])
"""Of dskd's arrays, and zarr's default, whose chunks are compared with their SHA-256."""
_LAYOUT = ("regular", "default")


def damage(uri: str, name: str, what: str) -> ArtifactError:
    """Return the refusal of one file of the artifact at ``uri``."""
    return ArtifactError(f"{uri}/{name} {what}; delete {uri} and run its stage again.")


def check_file(uri: str, name: str, path: Path, entry: Entry) -> None:
    """Compare a local file with its entry in the record; an unchanged file is read once a process.

    Args:
        uri: the artifact's place.
        name: the file's name in it.
        path: where the file, or a download of it, lies.
        entry: its ``bytes`` and ``sha256``.

    Raises:
        ArtifactError: if it is absent or differs.
    """
    try:
        state = path.stat()
    except FileNotFoundError:
        raise damage(uri, name, "is missing") from None
    if state.st_size != entry["bytes"]:
        raise damage(uri, name, f"has {state.st_size} bytes, its record says {entry['bytes']}")
    if _sha256(str(path), state.st_mtime_ns, state.st_ino, state.st_size) != entry["sha256"]:
        raise damage(uri, name, "has another SHA-256 than its record says")


def check_bytes(uri: str, name: str, content: bytes | memoryview, entry: Entry) -> None:
    """Compare what was read of a file with its entry in the record.

    Raises:
        ArtifactError: if it differs.
    """
    if len(content) != entry["bytes"]:
        raise damage(uri, name, f"has {len(content)} bytes, its record says {entry['bytes']}")
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise damage(uri, name, "has another SHA-256 than its record says")


def entry_of(uri: str, name: str, files: dict[str, Entry]) -> Entry:
    """Return what the record says of a file.

    Raises:
        ArtifactError: if it does not name the file.
    """
    if name not in files:
        raise damage(uri, name, "is not in its record")
    return files[name]


def check_no_link(uri: str, folder: Path, name: str) -> None:
    """Refuse a file of an artifact that is a link, or lies in one, below the artifact's folder.

    The folder itself may be a link, or lie in one: access.py judges where that leads.

    Raises:
        ArtifactError: if there is one.
    """
    path = folder
    for part in name.split("/"):
        path /= part
        if path.is_symlink():
            raise damage(uri, name, f"is or lies in a link to {str(path.readlink())!r}")


def check_only(uri: str, folder: Path, files: dict[str, Entry], others: set[str]) -> None:
    """Refuse a local folder that holds a file the record does not name, or a link, at any depth.

    Libraries that are given the folder read what they find. Names with a leading dot, which file
    managers and network disks leave behind and no reader opens, may be there.

    Raises:
        ArtifactError: if there is one.
    """
    for name, odd in walked(folder):
        if odd:
            raise damage(uri, name, odd)
        hidden = any(part.startswith(".") for part in name.split("/"))
        if name not in files and name not in others and not hidden:
            raise damage(uri, name, "is not in its record")


def walked(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield all that is no folder below ``folder``: its relative name, and what is odd about it.

    A link is not followed. Of a file nothing is asked but its kind, which the listing has. An
    absent folder has nothing below it.
    """
    waiting = [""]
    while waiting:
        inner = waiting.pop()
        try:
            entries = list(os.scandir(folder / inner))
        except FileNotFoundError:  # discarded meanwhile
            continue
        for entry in entries:
            name = f"{inner}{entry.name}"
            if entry.is_symlink():
                yield name, f"is a link to {str(Path(entry.path).readlink())!r}"
            elif entry.is_dir(follow_symlinks=False):
                waiting.append(f"{name}/")
            else:
                yield name, "" if entry.is_file(follow_symlinks=False) else "is no plain file"


@lru_cache(maxsize=1 << 14)
def _sha256(path: str, _mtime_ns: int, _inode: int, _n_bytes: int) -> str:
    return sha256_of_file(Path(path))


class CheckedStore(WrapperStore[Store]):  # type: ignore[misc]
    """A Zarr group of an artifact; every key the record names is there and undamaged, or refused.

    zarr by itself reads an absent chunk as zeros, believes its metadata, and does not name the
    file a checksum failed in.
    """

    def __init__(self, store: Store, uri: str, group: str, files: dict[str, Entry]) -> None:
        """Wrap ``store``, which holds the group ``group`` of the artifact at ``uri``.

        Args:
            store: holds the keys below the group.
            uri: the artifact's place.
            group: the group's name in it.
            files: the files of its record.
        """
        super().__init__(store)
        self._uri, self._group, self._files = uri, group, files

    @property
    def unchecked(self) -> Store:
        """The store itself."""
        return self._store

    def _with_store(self, store: Store) -> "CheckedStore":
        return type(self)(store, self._uri, self._group, self._files)

    def check_known(self, key: str) -> Entry:
        """Return what the record says of a key that is about to be read.

        Raises:
            ArtifactError: if it does not name it, or a link stands there.
        """
        name = f"{self._group}/{key}"
        entry = entry_of(self._uri, name, self._files)
        if isinstance(self._store, LocalStore):
            check_no_link(self._uri, Path(self._uri), name)
        return entry

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return what stands under ``key``.

        Raises:
            ArtifactError: if it is not what the record says, or the record does not name it.
        """
        name = f"{self._group}/{key}"
        if name not in self._files and _is_metadata(key) and not await self._store.exists(key):
            return None  # zarr asks whether there is such an array
        entry = self.check_known(key)
        if byte_range is not None:  # a piece of a file has no checksum
            raise damage(self._uri, name, "is read in pieces, which dskd does not write")
        found = await self._store.get(key, prototype)
        if found is None:
            raise damage(self._uri, name, "is missing")
        content = np.asarray(found.as_numpy_array()).view(np.uint8)
        is_metadata = _is_metadata(key)
        if is_metadata or len(content) != entry["bytes"] or not _ends_in_its_crc(content):
            check_bytes(self._uri, name, content.data, entry)
        if is_metadata:
            check_metadata(self._uri, name, content.tobytes())
        return found

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        """Return what stands under several keys, each checked."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def _get_many(
        self, requests: Iterable[tuple[str, BufferPrototype, ByteRequest | None]]
    ) -> AsyncGenerator[tuple[str, Buffer | None], None]:
        for key, prototype, byte_range in requests:
            yield key, await self.get(key, prototype, byte_range)


def check_metadata(uri: str, name: str, content: bytes) -> None:
    """Refuse the metadata of a group or array that dskd does not write, before zarr acts on it.

    Raises:
        ArtifactError: if it is not of Zarr v3, holds the metadata of other arrays, or names
            codecs other than bytes and crc32c or another layout of chunks.
    """
    try:
        said = json.loads(content)
        kind = said["node_type"]
        if said["zarr_format"] != 3 or kind not in ("group", "array"):
            raise damage(uri, name, f"is of Zarr {said['zarr_format']!r}, a {kind!r}")
        if kind == "group":
            if said.get("consolidated_metadata"):
                raise damage(uri, name, "holds the metadata of its arrays")
            return
        codecs = [codec["name"] for codec in said["codecs"]]
        layout = said["chunk_grid"]["name"], said["chunk_key_encoding"]["name"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise damage(uri, name, "is no metadata of Zarr v3") from None
    if codecs not in _CODECS or layout != _LAYOUT or said.get("storage_transformers"):
        raise damage(
            uri,
            name,
            f"has the codecs {codecs} and chunks {layout}, where dskd writes {_CODECS[0]} and "
            f"{_LAYOUT}",
        )


def _is_metadata(key: str) -> bool:
    return key.rpartition("/")[2] == _METADATA


def _ends_in_its_crc(content: np.ndarray) -> bool:
    """Say whether the last four bytes are the CRC-32C of all before (of metadata they are not)."""
    stored = int.from_bytes(content[-_CRC_BYTES:].tobytes(), "little")
    return bool(google_crc32c.value(content[:-_CRC_BYTES]) == stored)
