"""How dskd writes arrays: Zarr v3, uncompressed (states do not compress), every chunk checked."""

from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec

_CHUNK_BYTES = 16 << 20


def put_array(
    group: zarr.Group,
    name: str,
    values: np.ndarray,
    *,
    chunk_bytes: int = _CHUNK_BYTES,
    **attributes: Any,
) -> None:
    """Write a whole array, in chunks of about 16 MiB of consecutive rows with a CRC-32C each.

    All-zero chunks are written too, so a missing file is always damage and never data.
    """
    row_bytes = max(1, values.nbytes // max(1, len(values)))
    rows = max(1, min(len(values), chunk_bytes // row_bytes))
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=(rows, *values.shape[1:]),
        compressors=[Crc32cCodec()],
        attributes=attributes,
        config={"write_empty_chunks": True},
    )
    if values.size:
        array[...] = values


def get_array(group: zarr.Group, name: str) -> np.ndarray:
    """Read a whole array."""
    return np.asarray(group[name][...])
