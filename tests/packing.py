"""Compressions that pyarrow writes and the standard library does not."""

import pyarrow as pa


def by_arrow(codec):
    """Return a function that compresses bytes."""

    def compress(data):
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, codec) as stream:
            stream.write(data)
        return sink.getvalue().to_pybytes()

    return compress
