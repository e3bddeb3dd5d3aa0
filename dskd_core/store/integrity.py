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
import math
import os
import re
import stat
from collections.abc import AsyncGenerator, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, WrapperStore

from dskd_core import strict_json
from dskd_core.errors import ArtifactError
from dskd_core.store.places import sha256_of_file
from dskd_core.store.versions import of_another_version

FileEntry = dict[str, Any]
_CRC_BYTES = 4
_SPARE_BYTES = 1 << 10
_FRAME_BYTES = 18
"""The most that the header of a frame of zstd has."""
_METADATA = "zarr.json"
_METADATA_BYTES = 1 << 20
_CODECS = (["bytes", "crc32c"], ["bytes", "zstd"])
"""Of dskd's arrays, and zarr's default, whose chunks are compared with their SHA-256."""
_LAYOUT = ("regular", "default", "/")
_TYPE = re.compile(r"u?int(?:8|16|32|64)|float(?:16|32|64)|bool")
_MAX_DIMENSIONS = 8
_ANY_BYTES, _ANY_CHUNKS = 64 << 20, 1 << 12
"""An array of no more is looked at whatever its record names: the chunk it lacks is named then."""
_PACKED_CHUNK_BYTES = 256 << 20
_MAX_RATIO = 1024
"""Of an array packed by zstd: bytes of a chunk, and of the array for every byte it has here."""


def damage(uri: str, name: str, what: str) -> ArtifactError:
    """Return the refusal of one file of the artifact at ``uri``."""
    return ArtifactError(f"{uri}/{name} {what}; delete {uri} and run its stage again.")


def check_file(uri: str, name: str, path: Path, entry: FileEntry) -> None:
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


def check_bytes(uri: str, name: str, content: bytes | memoryview, entry: FileEntry) -> None:
    """Compare what was read of a file with its entry in the record.

    Raises:
        ArtifactError: if it differs.
    """
    if len(content) != entry["bytes"]:
        raise damage(uri, name, f"has {len(content)} bytes, its record says {entry['bytes']}")
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise damage(uri, name, "has another SHA-256 than its record says")


def entry_of(uri: str, name: str, files: dict[str, FileEntry]) -> FileEntry:
    """Return what the record says of a file.

    Raises:
        ArtifactError: if it does not name the file.
    """
    if name not in files:
        raise damage(uri, name, "is not in its record")
    return files[name]


def check_plain(uri: str, folder: Path, name: str) -> None:
    """Refuse a file of an artifact that is a link or lies in one, or that is no file but a pipe.

    The folder itself may be a link, or lie in one: access.py judges where that leads. A pipe or a
    device would be waited for, or never end. What is absent is the caller's to refuse.

    Raises:
        ArtifactError: if it is one.
    """
    path, mode = folder, 0
    for part in name.split("/"):
        path /= part
        try:
            mode = path.lstat().st_mode
        except OSError:  # absent, or below a file
            return
        if stat.S_ISLNK(mode):
            raise damage(uri, name, f"is or lies in a link to {str(path.readlink())!r}")
    if not stat.S_ISREG(mode):
        raise damage(uri, name, "is no plain file")


def check_only(uri: str, folder: Path, files: dict[str, FileEntry], others: set[str]) -> None:
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

    def __init__(
        self, store: Store, uri: str, group: str, files: dict[str, FileEntry], made_by: str = ""
    ) -> None:
        """Wrap ``store``, which holds the group ``group`` of the artifact at ``uri``.

        Args:
            store: holds the keys below the group.
            uri: the artifact's place.
            group: the group's name in it.
            files: the files of its record.
            made_by: the version of dskd that its record says.
        """
        super().__init__(store)
        self._uri, self._group, self._files, self._made_by = uri, group, files, made_by
        # How keys of chunks of arrays of zstd begin, and the bytes of each chunk.
        self._packed: dict[str, int] = {}

    @property
    def unchecked(self) -> Store:
        """The store itself."""
        return self._store

    def _with_store(self, store: Store) -> "CheckedStore":
        made = type(self)(store, self._uri, self._group, self._files, self._made_by)
        made._packed = self._packed
        return made

    def lacks(self, array: str) -> ArtifactError:
        """Return the refusal of an artifact whose group has no such array."""
        return of_another_version(self._uri, f"{self._group}/{array}", self._made_by)

    def check_known(self, key: str) -> FileEntry:
        """Return what the record says of a key that is about to be read.

        Raises:
            ArtifactError: if it does not name it, or a link or a file of another size is there.
        """
        name = f"{self._group}/{key}"
        entry = entry_of(self._uri, name, self._files)
        if isinstance(self._store, LocalStore):
            check_plain(self._uri, Path(self._uri), name)
            path = Path(self._uri, name)
            if path.exists() and (n_bytes := path.stat().st_size) != entry["bytes"]:
                said = f"has {n_bytes} bytes, its record says {entry['bytes']}"
                raise damage(self._uri, name, said)
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
        entry, is_metadata = self.check_known(key), _is_metadata(key)
        if is_metadata and entry["bytes"] > _METADATA_BYTES:
            raise damage(self._uri, name, f"has more than {_METADATA_BYTES:,} bytes")
        if byte_range is not None:  # a piece of a file has no checksum
            raise damage(self._uri, name, "is read in pieces, which dskd does not write")
        found = await self._store.get(key, prototype)
        if found is None:
            raise damage(self._uri, name, "is missing")
        content = np.asarray(found.as_numpy_array()).view(np.uint8)
        if is_metadata or len(content) != entry["bytes"] or not _ends_in_its_crc(content):
            check_bytes(self._uri, name, content.data, entry)
        if is_metadata:
            self._check_metadata(key, name, content.tobytes())
        n_bytes = next((n for start, n in self._packed.items() if key.startswith(start)), 0)
        n_unpacked = _n_unpacked(content[:_FRAME_BYTES].tobytes())
        if n_bytes and not is_metadata and n_unpacked != n_bytes:
            raise damage(self._uri, name, f"does not unpack to the {n_bytes:,} of its array")
        return found

    def _check_metadata(self, key: str, name: str, content: bytes) -> None:
        check_metadata(self._uri, name, content)
        said = json.loads(content)
        if said["node_type"] == "group":
            return
        chunks = f"{name.removesuffix(_METADATA)}c"
        sizes = {
            other: entry["bytes"]
            for other, entry in self._files.items()
            if other == chunks or other.startswith(f"{chunks}/")
        }
        n_bytes = check_sizes(self._uri, name, said, len(sizes), sum(sizes.values()))
        most = n_bytes + n_bytes // 64 + _SPARE_BYTES  # zstd makes noise larger by less
        if large := [other for other, size in sizes.items() if size > most]:
            raise damage(self._uri, large[0], f"is larger than the {n_bytes:,} bytes of a chunk")
        if said["codecs"][-1]["name"] == "zstd":
            self._packed[f"{key.removesuffix(_METADATA)}c"] = n_bytes

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
        said = strict_json.loads(content)
        kind = said["node_type"]
        if said["zarr_format"] != 3 or kind not in ("group", "array"):
            raise damage(uri, name, f"is of Zarr {said['zarr_format']!r}, a {kind!r}")
        if kind == "group":
            if said.get("consolidated_metadata"):
                raise damage(uri, name, "holds the metadata of its arrays")
            return
        codecs = [codec["name"] for codec in said["codecs"]]
        options = (codec.get("configuration") or {} for codec in said["codecs"])
        if others := {one["endian"] for one in options if "endian" in one} - {"little"}:
            raise damage(uri, name, f"has numbers that are {sorted(map(str, others))[0]}-endian")
        encoding = said["chunk_key_encoding"]
        separator = (encoding.get("configuration") or {}).get("separator", "/")
        layout = said["chunk_grid"]["name"], encoding["name"], separator
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise damage(uri, name, "is no metadata of Zarr v3") from None
    if codecs not in _CODECS or layout != _LAYOUT or said.get("storage_transformers"):
        raise damage(
            uri,
            name,
            f"has the codecs {codecs} and chunks {layout}, where dskd writes {_CODECS[0]} and "
            f"{_LAYOUT}",
        )


def check_sizes(uri: str, name: str, said: dict[str, Any], n_files: int, n_bytes: int) -> int:
    """Refuse an array of other values than numbers, or of more than its chunks can hold.

    zarr allocates what the metadata asks for, before it reads a chunk.

    Args:
        uri: the artifact's place.
        name: of the metadata's file in it.
        said: the metadata of an array, checked by :func:`check_metadata`.
        n_files: chunks that the record names.
        n_bytes: of these, together.

    Returns:
        Bytes of a chunk, unpacked.

    Raises:
        ArtifactError: if it is one.
    """
    kind, shape = said.get("data_type"), said.get("shape")
    grid = said["chunk_grid"].get("configuration")
    chunk = grid.get("chunk_shape") if isinstance(grid, dict) else None
    if (
        not (isinstance(kind, str) and _TYPE.fullmatch(kind))
        or not (isinstance(shape, list) and isinstance(chunk, list))
        or not len(shape) == len(chunk) <= _MAX_DIMENSIONS
        or not all(type(n) is int and n >= 0 for n in shape)
        or not all(type(n) is int and n >= 1 for n in chunk)
    ):
        raise damage(uri, name, "is no array of numbers of some size in chunks of some size")
    size = np.dtype(kind).itemsize
    wanted, of_chunk = math.prod(shape) * size, math.prod(chunk) * size
    n_chunks = math.prod(-(-n // c) for n, c in zip(shape, chunk, strict=True))
    is_packed = said["codecs"][-1]["name"] == "zstd"
    most = max(_ANY_BYTES, n_bytes * (_MAX_RATIO if is_packed else 1))
    is_packed_too_well = is_packed and of_chunk > _PACKED_CHUNK_BYTES
    if n_chunks > max(n_files, _ANY_CHUNKS) or wanted > most or is_packed_too_well:
        raise damage(
            uri,
            name,
            f"asks for {wanted:,} bytes in {n_chunks:,} chunks, where its record names {n_files:,} "
            f"of {n_bytes:,} bytes",
        )
    return of_chunk


def _n_unpacked(frame: bytes) -> int | None:
    """Return the bytes that a frame of zstd says it unpacks to (RFC 8878, 3.1.1.1)."""
    if len(frame) < 5 or not frame.startswith(b"\x28\xb5\x2f\xfd"):
        return None
    is_single, kind = frame[4] >> 5 & 1, frame[4] >> 6
    width = (is_single, 2, 4, 8)[kind]
    start = 5 + (not is_single) + (0, 1, 2, 4)[frame[4] & 3]
    number = int.from_bytes(frame[start : start + width], "little")
    return number + 256 * (width == 2) if width else None


def _is_metadata(key: str) -> bool:
    return key.rpartition("/")[2] == _METADATA


def _ends_in_its_crc(content: np.ndarray) -> bool:
    """Say whether the last four bytes are the CRC-32C of all before (of metadata they are not)."""
    stored = int.from_bytes(content[-_CRC_BYTES:].tobytes(), "little")
    return bool(google_crc32c.value(content[:-_CRC_BYTES]) == stored)
