"""How dskd writes arrays: Zarr v3, uncompressed (states do not compress), every chunk checked."""

from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec

_CHUNK_BYTES = 16 << 20


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
    values: np.ndarray,
    *,
    chunk_bytes: int = _CHUNK_BYTES,
    **attributes: Any,
) -> None:
    """Write a whole array, in chunks of about ``chunk_bytes`` of consecutive rows."""
    row_bytes = max(1, values.nbytes // max(1, len(values)))
    rows = max(1, min(len(values), chunk_bytes // row_bytes))
    shape, dtype = values.shape, values.dtype
    array = new_array(group, name, shape, dtype, chunk_rows=rows, attributes=attributes)
    if values.size:
        array[...] = values


def get_array(group: zarr.Group, name: str) -> np.ndarray:
    """Read a whole array."""
    return np.asarray(group[name][...])
