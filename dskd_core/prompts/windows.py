"""Prompts with their answers as windows, as the corpus writes its own (corpus/store.py)."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dskd_core.corpus.windows import document_hash
from dskd_core.store.arrays import put_array, put_rows
from dskd_core.store.artifacts import Draft


def write_windows(
    draft: Draft,
    prompts: Sequence[NDArray[np.int32]],
    answers: Sequence[NDArray[np.int32]],
    prefix: list[int],
    table: pa.Table,
) -> None:
    """Write a window of prompt and answer for each question, as the corpus writes its own."""
    rows = [np.concatenate(pair) for pair in zip(prompts, answers, strict=True)]
    lengths = np.array([len(row) for row in rows])
    written = [np.arange(len(row)) >= len(p) for row, p in zip(rows, prompts, strict=True)]
    heldout = table["heldout"].to_numpy(zero_copy_only=False)
    group = draft.write_group("windows.zarr")
    group.attrs.update({"prefix": prefix, "window_tokens": len(prefix) + int(lengths.max())})
    put_rows(group, rows)
    put_array(group, "documents", np.arange(len(rows), dtype=np.int32))
    put_array(group, "starts", np.zeros(len(rows), dtype=np.int32))
    put_array(group, "heldout", heldout)
    put_array(group, "answers", np.concatenate(written))
    documents = {
        "document": table["question"],
        "document_id": table["id"],
        "title": table["id"],
        "n_tokens": pa.array(lengths, pa.int32()),
        "heldout": table["heldout"],
        "key": pa.array([document_hash(name) for name in table["id"].to_pylist()], pa.uint64()),
    }
    draft.write_table("documents.parquet", pa.table(documents))
    draft.counts |= {
        "n_documents": len(rows),
        "n_heldout_documents": int(heldout.sum()),
        "n_windows": len(rows),
        "n_heldout_windows": int(heldout.sum()),
        "n_tokens": int(lengths.sum()),
        "n_heldout_tokens": int(lengths[heldout].sum()),
        "n_answer_tokens": sum(map(len, answers)),
    }
