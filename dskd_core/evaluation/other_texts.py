"""Text of another domain that every model is scored on: read, cut, and cleared of known documents.

An ``other-text`` artifact has the layout of a corpus (corpus/store.py). All of its windows are held
out, so the teacher's activations of it are captured as those of the held-out text are, and students
are scored on them by heldout/store.py.
"""

from collections.abc import Sequence
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dskd_core.config import CorpusConfig, OtherTextConfig, PipelineConfig
from dskd_core.corpus.store import Windows, build_corpus, load_windows
from dskd_core.errors import DataError
from dskd_core.progress import Progress, silent
from dskd_core.store.arrays import put_array
from dskd_core.store.artifacts import Artifact, ArtifactStore, Draft, Work

STAGE = "other-text"


def build_other_text(
    store: ArtifactStore,
    config: OtherTextConfig,
    corpus_config: CorpusConfig,
    teacher: Artifact,
    read: Sequence[Artifact],
    *,
    progress: Progress = silent,
) -> Artifact:
    """Read and cut a text, and leave out the documents that the run has read already.

    A document is known if it has the same tokens as one of ``read``, as far as both are read
    (``max_document_tokens``). What a document is called does not matter.

    ``read`` are the corpus, and the prompts if students are trained on them. Windows are as long as
    the corpus', and ``progress`` is told bytes of the source, documents and tokens.

    Raises:
        ConfigError: if the source is unknown.
        DataError: if no document is left.
    """
    corpus = build_corpus(
        store, config.corpus(corpus_config.window_tokens), teacher, progress=progress
    )
    known_in = {f"{text.record.stage} read": text.fingerprint for text in read}
    cut = {"corpus": corpus.fingerprint, "tokenizer": corpus.record.inputs["tokenizer"]}
    work = Work(STAGE, {}, cut | known_in)
    if found := store.find(work):
        return found
    windows, known = load_windows(corpus), set[bytes]()
    limits = [text.record.config.get("max_document_tokens") for text in (corpus, *read)]
    most = min((limit for limit in limits if limit), default=None)
    for text in read:
        known.update(document_digests(load_windows(text), most))
    is_new = np.array([digest not in known for digest in document_digests(windows, most)])
    if not is_new.any():
        raise DataError(
            f"All {len(is_new):,} documents of the other text {config.name!r} ({config.source}) "
            "stand in the text that the run reads; name another source."
        )
    with store.publish(work) as draft:
        _write(draft, corpus, windows, is_new)
    return store.get(work.stage, work.fingerprint)


def capture_settings(config: PipelineConfig) -> PipelineConfig:
    """Return settings with which the teacher's activations of other texts are captured.

    All of the text, whatever of the corpus is trained and scored on, and however that is stored.
    """
    whole = {"mode": "online", "max_train_tokens": None, "max_heldout_tokens": None, "recipes": ()}
    return config.model_copy(update={"training": config.training.model_copy(update=whole)})


def document_digests(windows: Windows, most: int | None) -> list[bytes]:
    """Return a hash of the first ``most`` tokens of every document, or of all."""
    starts = np.searchsorted(windows.documents, np.arange(len(windows.document_hashes) + 1))
    bounds = windows.offsets[starts]
    return [
        blake2b(windows.token_ids[start:stop][:most].tobytes(), digest_size=16).digest()
        for start, stop in pairwise(bounds)
    ]


def _write(draft: Draft, corpus: Artifact, windows: Windows, is_new: NDArray[np.bool_]) -> None:
    """Write the windows of new documents, all held out, as the corpus writes its own."""
    kept = is_new[windows.documents]
    numbers = np.cumsum(is_new) - 1
    lengths = windows.lengths[kept]
    group = draft.write_group("windows.zarr")
    group.attrs.update(dict(corpus.group("windows.zarr").attrs))
    put_array(group, "token_ids", windows.token_ids[np.repeat(kept, windows.lengths)])
    put_array(group, "offsets", np.concatenate(([0], np.cumsum(lengths))).astype(np.int64))
    put_array(group, "documents", numbers[windows.documents[kept]].astype(np.int32))
    put_array(group, "starts", windows.starts[kept])
    put_array(group, "heldout", np.ones(len(lengths), dtype=bool))
    table = corpus.table("documents.parquet").filter(pa.array(is_new))
    n_documents = len(table)
    columns = {
        "document": pa.array(range(n_documents), pa.int32()),
        "heldout": pa.array([True] * n_documents, pa.bool_()),
    }
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, values)
    draft.write_table("documents.parquet", table)
    draft.counts |= {
        "n_documents": n_documents,
        "n_windows": len(lengths),
        "n_tokens": int(lengths.sum()),
        "n_documents_left_out_as_known": int((~is_new).sum()),
    }
    draft.report |= corpus.record.report
