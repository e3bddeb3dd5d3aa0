"""What a sense means: the occurrences nearest to its centroid, with the text around them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dskd_core.corpus.store import Windows
from dskd_core.decoder.tokenizer import Tokenizer
from dskd_core.embeddings.readers import TokenRows
from dskd_core.progress import Progress, silent
from dskd_core.senses.kmeans import Clustering

_ROWS_A_TIME = 1 << 14
_NEAREST = pa.schema(
    {
        "token_id": pa.int32(),
        "sense": pa.int16(),
        "rank": pa.int16(),
        "document": pa.int32(),
        "position": pa.int32(),
        "distance": pa.float32(),
    }
)
_EXAMPLES = pa.schema(
    {
        "token_id": pa.int32(),
        "token": pa.string(),
        "sense": pa.int16(),
        "rank": pa.int16(),
        "document_id": pa.string(),
        "position": pa.int32(),
        "distance": pa.float32(),
        "left": pa.string(),
        "written": pa.string(),
        "right": pa.string(),
    }
)


def nearest_examples(rows: TokenRows, senses: Sequence[Clustering], n_examples: int) -> pa.Table:
    """Return the occurrences nearest to each centroid, the nearest first.

    A table of token_id, sense, rank, document (its index), position and distance (L2). Of equally
    near occurrences the one that comes first in ``rows`` wins.
    """
    columns: dict[str, list[np.ndarray]] = {name: [] for name in _NEAREST.names}
    for index, found in enumerate(senses):
        start, stop = int(rows.offsets[index]), int(rows.offsets[index + 1])
        errors = rows.states[start:stop] - found.centroids[found.labels]
        distances = np.sqrt(np.einsum("nd,nd->n", errors, errors))
        order = np.lexsort((np.arange(stop - start), distances, found.labels))
        labels = found.labels[order]
        ranks = np.arange(len(order)) - np.searchsorted(labels, labels)
        kept = ranks < n_examples
        chosen = order[kept]
        columns["token_id"].append(np.full(len(chosen), rows.tokens[index]))
        columns["sense"].append(labels[kept])
        columns["rank"].append(ranks[kept])
        columns["document"].append(rows.documents[start + chosen])
        columns["position"].append(rows.positions[start + chosen])
        columns["distance"].append(distances[chosen])
    return pa.table(
        {
            field.name: np.concatenate([np.empty(0), *columns[field.name]]).astype(
                field.type.to_pandas_dtype()
            )
            for field in _NEAREST
        },
        schema=_NEAREST,
    )


def write_examples(
    path: Path,
    table: pa.Table,
    *,
    windows: Windows,
    document_ids: pa.ChunkedArray,
    tokenizer: Tokenizer,
    key: str,
    context_tokens: int,
    progress: Progress = silent,
) -> None:
    """Write the examples as Parquet, with the text around each.

    ``left`` + ``token`` + ``right`` reads as a sentence. Under the key ``predicted`` the token is
    what the teacher expects there; ``written`` is what the corpus has in its place. Some 16,000
    rows of ``table``, which are of ``nearest_examples``, have their text in memory at a time.
    """
    with pq.ParquetWriter(path, _EXAMPLES, compression="zstd") as writer:
        for start in range(0, len(table), _ROWS_A_TIME):
            piece = table.slice(start, _ROWS_A_TIME)
            texts = [
                [tokenizer.decode(ids) for ids in (left, written, right)]
                for left, written, right in _places(piece, windows, key, context_tokens)
            ]
            left, written, right = zip(*texts, strict=True)
            tokens = piece["token_id"].to_pylist()
            names = {token: tokenizer.decode([token]) for token in set(tokens)}
            columns = {name: piece[name] for name in ("token_id", "sense", "rank", "position")}
            columns |= {
                "token": [names[token] for token in tokens],
                "document_id": document_ids.take(piece["document"]),
                "distance": piece["distance"],
                "left": left,
                "written": written,
                "right": right,
            }
            writer.write_table(pa.table({f.name: columns[f.name] for f in _EXAMPLES}, _EXAMPLES))
            progress(start + len(piece), len(table), "examples")


def _places(
    table: pa.Table, windows: Windows, key: str, n: int
) -> Iterator[tuple[list[int], list[int], list[int]]]:
    """Yield the token ids left of, at, and right of the place a state is filed for."""
    for document, position in zip(
        table["document"].to_pylist(), table["position"].to_pylist(), strict=True
    ):
        if key == "input":
            left, right = windows.context(document, position, n + 1, n)
            yield left[:-1].tolist(), left[-1:].tolist(), right.tolist()
        else:
            left, right = windows.context(document, position, n, n + 1)
            yield left.tolist(), right[:1].tolist(), right[1:].tolist()
