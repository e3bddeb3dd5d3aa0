"""How dskd writes arrays: Zarr v3, uncompressed (states do not compress), every chunk checked.

Whole arrays in a local folder, where drafts always are, are written and read here chunk by chunk,
with as many bytes as zarr itself would write and four threads: zarr copies each chunk three times
on the way, which costs two thirds of the disk's speed. Anything else goes through zarr.
"""

import math
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BytesCodec, Crc32cCodec
from zarr.storage import LocalStore

from dskd_core.errors import DataError
from dskd_core.store.integrity import CheckedStore

_CHUNK_BYTES = 16 << 20
_N_THREADS = 4
_CRC_BYTES = 4


def new_array(
    group: zarr.Group,
    name: str,
    shape: tuple[int, ...],
    dtype: Any,
    *,
    chunk_rows: int,
    attributes: dict[str, Any] | None = None,
) -> zarr.Array:
    """Create an array to be filled, in chunks of ``chunk_rows`` rows with a CRC-32C each.

    All-zero chunks are written too, so a missing file is always damage and never data.
    """
    return group.create_array(
        name,
        shape=shape,
        dtype=np.dtype(dtype),
        chunks=(chunk_rows, *shape[1:]),
        compressors=[Crc32cCodec()],
        attributes=attributes,
        config={"write_empty_chunks": True},
    )


def put_array(
    group: zarr.Group,
    name: str,
    *blocks: np.ndarray,
    chunk_bytes: int = _CHUNK_BYTES,
    **attributes: Any,
) -> None:
    """Write a whole array, in even chunks of at most ``chunk_bytes`` of consecutive rows.

    Blocks of rows, of one dtype, become one array end to end, of which there is no second copy.
    """
    n_rows, width = sum(map(len, blocks)), blocks[0].shape[1:]
    row_bytes = max(1, sum(block.nbytes for block in blocks) // max(1, n_rows))
    n_chunks = -(-n_rows // max(1, chunk_bytes // row_bytes))
    rows = max(1, -(-n_rows // max(1, n_chunks)))
    shape, dtype = (n_rows, *width), blocks[0].dtype
    array = new_array(group, name, shape, dtype, chunk_rows=rows, attributes=attributes)
    if not array.size:
        return
    if (chunk := _chunk_path(array)) is None:
        array[...] = np.concatenate(blocks)
        return

    def write(number: int) -> None:
        _write_chunk(chunk(number), _run_of(blocks, number * rows, (number + 1) * rows), rows)

    _for_each(write, range(n_chunks))


def _run_of(blocks: Sequence[np.ndarray], start: int, stop: int) -> np.ndarray:
    """Return rows ``start:stop`` of blocks end to end; a view where one block has them all."""
    found, first = [], 0
    for block in blocks:
        piece = block[max(0, start - first) : max(0, stop - first)]
        if len(piece):
            found.append(piece)
        first += len(block)
    return np.ascontiguousarray(found[0] if len(found) == 1 else np.concatenate(found))


def open_array(group: zarr.Group, name: str) -> zarr.Array:
    """Return an array of a group, unread.

    Raises:
        ArtifactError: if the group is of an artifact that has no such array.
    """
    try:
        return group[name]
    except KeyError:
        if isinstance(group.store, CheckedStore):
            raise group.store.lacks(name) from None
        raise


def get_array(group: zarr.Group, name: str, rows: slice | None = None) -> np.ndarray:
    """Read a whole array, or a run of its rows.

    Raises:
        DataError: if a chunk in a local folder is missing, cut short or fails its checksum.
    """
    array = open_array(group, name)
    start, stop, _ = (rows or slice(None)).indices(array.shape[0])
    chunk = _chunk_path(array)
    if chunk is None or stop <= start:
        return np.asarray(array[start:stop])
    n_rows = array.chunks[0]
    values = np.empty((stop - start, *array.shape[1:]), array.dtype)

    def read(number: int) -> None:
        low, high = max(start, number * n_rows), min(stop, (number + 1) * n_rows)
        target = values[low - start : high - start]
        _read_chunk(chunk(number), target, low - number * n_rows, n_rows)

    _for_each(read, range(start // n_rows, -(-stop // n_rows)))
    return values


def peek_rows(group: zarr.Group, name: str, rows: NDArray[np.integer]) -> np.ndarray | None:
    """Read single rows of an array in a local folder, without their chunks and their checksums.

    Only for chunks that :func:`get_array` has read before: nothing is compared here.

    Returns:
        The rows in their order, or None where the array is not a local one.

    Raises:
        DataError: if a chunk is missing or cut short.
    """
    array = open_array(group, name)
    if (chunk := _chunk_path(array)) is None:
        return None
    values = np.empty((len(rows), *array.shape[1:]), array.dtype)
    content = values.reshape(len(rows), math.prod(array.shape[1:])).view(np.uint8)
    row_bytes = content.shape[1]
    numbers, places = np.divmod(np.asarray(rows), array.chunks[0])
    for number in np.unique(numbers):
        path = chunk(int(number))
        try:
            with path.open("rb") as file:
                for index in np.flatnonzero(numbers == number):
                    file.seek(int(places[index]) * row_bytes)
                    if file.readinto(content[index].data) != row_bytes:
                        raise FileNotFoundError(path)
        except FileNotFoundError:
            raise DataError(
                f"The chunk {path} is damaged: it was whole before and is not any more; delete "
                "its artifact and run the stage again."
            ) from None
    return values


def put_rows(group: zarr.Group, rows: Sequence[NDArray[np.int32]]) -> None:
    """Write rows of token ids of any length: ``token_ids``, end to end, and ``offsets`` int64."""
    ends = np.cumsum([len(row) for row in rows])
    put_array(group, "token_ids", np.concatenate(rows))
    put_array(group, "offsets", np.concatenate(([0], ends)).astype(np.int64))


def get_rows(group: zarr.Group) -> list[NDArray[np.int32]]:
    """Read the rows that :func:`put_rows` wrote."""
    return np.split(get_array(group, "token_ids"), get_array(group, "offsets")[1:-1])


def _chunk_path(array: zarr.Array) -> Callable[[int], Path] | None:
    """Return the file of each run of rows, if it is a local one and just rows and checksum.

    Of an artifact, it is a file that the record names.
    """
    store, metadata = array.store, array.metadata
    checked = store if isinstance(store, CheckedStore) else None
    if checked:
        store = checked.unchecked  # what is read here is checked here
    plain = (
        isinstance(store, LocalStore)
        and sys.byteorder == "little"
        and array.dtype.kind in "biuf"
        and array.chunks[1:] == array.shape[1:]
        and [type(codec) for codec in metadata.codecs] == [BytesCodec, Crc32cCodec]
    )
    if not plain:
        return None
    root, rest = Path(store.root), (0,) * (len(array.shape) - 1)
    prefix = f"{array.path}/" if array.path else ""

    def chunk(number: int) -> Path:
        key = f"{prefix}{metadata.encode_chunk_key((number, *rest))}"
        if checked:
            checked.check_known(key)
        return root / key

    return chunk


def _write_chunk(path: Path, values: np.ndarray, n_rows: int) -> None:
    """Write rows, zeros up to a whole chunk, and the CRC-32C of both."""
    content = values.reshape(-1).view(np.uint8)
    padding = np.zeros((n_rows - len(values)) * (len(content) // len(values)), np.uint8)
    checksum = google_crc32c.extend(google_crc32c.value(content), padding.tobytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content.data)
        file.write(padding.data)
        file.write(checksum.to_bytes(4, "little"))
        file.flush()
        _send_to_disk(file.fileno())


def _send_to_disk(descriptor: int) -> None:
    """Let the disk begin with a file at once: publishing would wait for all of them at its end."""
    if hasattr(os, "posix_fadvise"):  # not on macOS
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _read_chunk(path: Path, target: np.ndarray, first: int, n_rows: int) -> None:
    """Read a chunk, check it, and leave its rows from ``first`` in ``target``."""
    whole = target if len(target) == n_rows else np.empty((n_rows, *target.shape[1:]), target.dtype)
    content = whole.reshape(-1).view(np.uint8)
    try:
        with path.open("rb") as file:
            n_read, rest = file.readinto(content.data), file.read(_CRC_BYTES + 1)
            n_bytes = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        n_read = n_bytes = 0
        rest = b""
    checksum = google_crc32c.value(content).to_bytes(4, "little")
    if n_read != len(content) or rest != checksum:
        raise DataError(
            f"The chunk {path} is damaged: it has {n_bytes} of {len(content) + _CRC_BYTES} "
            "bytes, or its checksum does not match; delete its artifact and run the stage again."
        )
    if whole is not target:
        target[...] = whole[first : first + len(target)]


def _for_each(run: Callable[[int], None], numbers: range) -> None:
    if len(numbers) == 1:
        run(numbers[0])
        return
    with ThreadPoolExecutor(_N_THREADS) as pool:
        for _ in pool.map(run, numbers):
            pass
