"""What is read is what was published, or it is refused by name.

The record of an artifact carries the SHA-256 of every file. Files that are read whole (Parquet,
JSON, safetensors) are compared with it, once a process; so is the metadata of Zarr arrays. A chunk
is compared with its size and with the CRC-32C it ends in, which is ten times as fast, and a chunk
that is absent is refused, where zarr would read zeros.
"""

import hashlib
from collections.abc import AsyncGenerator, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import WrapperStore

from dskd_core.errors import ArtifactError
from dskd_core.storage import sha256_of_file

Entry = dict[str, Any]
_CRC_BYTES = 4


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

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return what stands under ``key``.

        Raises:
            ArtifactError: if it is not what the record says.
        """
        found = await self._store.get(key, prototype, byte_range)
        name = f"{self._group}/{key}"
        if byte_range is None and (entry := self._files.get(name)):
            if found is None:
                raise damage(self._uri, name, "is missing")
            content = np.asarray(found.as_numpy_array()).view(np.uint8)
            if len(content) != entry["bytes"] or not _ends_in_its_crc(content):
                check_bytes(self._uri, name, content.data, entry)
        return found

    async def _get_many(
        self, requests: Iterable[tuple[str, BufferPrototype, ByteRequest | None]]
    ) -> AsyncGenerator[tuple[str, Buffer | None], None]:
        for key, prototype, byte_range in requests:
            yield key, await self.get(key, prototype, byte_range)


def _ends_in_its_crc(content: np.ndarray) -> bool:
    """Say whether the last four bytes are the CRC-32C of all before (of metadata they are not)."""
    stored = int.from_bytes(content[-_CRC_BYTES:].tobytes(), "little")
    return bool(google_crc32c.value(content[:-_CRC_BYTES]) == stored)
