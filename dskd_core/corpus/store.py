"""The corpus artifact: token windows, and the documents they come from.

windows.zarr        token_ids  int32   all documents end to end, the prefix not stored
                    offsets    int64   n_windows + 1; window i is token_ids[offsets[i]:offsets[i+1]]
                    documents  int32   the document (row of documents.parquet) of each window
                    starts     int32   position of a window's first token in its document
                    heldout    bool    whether the window is kept for evaluation
                    answers    bool    prompts only: whether a token is the teacher's answer
                    attributes prefix, window_tokens
documents.parquet   document int32, document_id, title, n_tokens int32, heldout bool, key uint64
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import zarr
from numpy.typing import NDArray

from dskd_core.config import CorpusConfig
from dskd_core.corpus import windows
from dskd_core.corpus.documents import Reading
from dskd_core.corpus.readers import source_fingerprint
from dskd_core.corpus.tokenized import Tokenized, take_documents
from dskd_core.decoder.pretrained import most_positions
from dskd_core.decoder.tokenizer import Tokenizer, load_tokenizer
from dskd_core.errors import ConfigError, DataError
from dskd_core.progress import Progress, silent
from dskd_core.store.arrays import new_array, open_array
from dskd_core.store.artifacts import Artifact, ArtifactStore, Draft, Work

STAGE = "corpus"
LEFT_OUT_FILES = ("unknown_file", "unsupported_file")
MAX_NAMES = 10
_log = logging.getLogger(__name__)
_CHUNK_ITEMS = 4 << 20  # 16 MiB of token ids


@dataclass(frozen=True)
class Windows:
    """All windows of a corpus, in memory (4 bytes a token).

    Attributes:
        token_ids: int32, shape (n_tokens,), documents end to end.
        offsets: int64, shape (n_windows + 1,).
        documents: int32, shape (n_windows,), index of each window's document.
        starts: int32, shape (n_windows,), position of its first token in the document.
        heldout: bool, shape (n_windows,).
        document_hashes: uint64, shape (n_documents,), the hash sampling uses for a document.
        prefix: ids the model is given before every window, not stored in it.
        answers: bool, shape (n_tokens,), whether the teacher wrote a token as its answer to a
            prompt; None for plain text.
    """

    token_ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    documents: NDArray[np.int32]
    starts: NDArray[np.int32]
    heldout: NDArray[np.bool_]
    document_hashes: NDArray[np.uint64]
    prefix: tuple[int, ...]
    answers: NDArray[np.bool_] | None = None

    @property
    def n_windows(self) -> int:
        """Number of windows."""
        return len(self.documents)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each window, int64, shape (n_windows,), the prefix not counted."""
        return np.diff(self.offsets)

    def window(self, index: int) -> NDArray[np.int32]:
        """Return the token ids of a window, int32, without the prefix."""
        return self.token_ids[self.offsets[index] : self.offsets[index + 1]]

    def next_tokens(self, index: int) -> NDArray[np.int64]:
        """Return x_(t+1) for every position t of a window, [length] int64.

        The token after a window's last one is the first of the document's next window; after the
        last token of a document there is none, which is -1.
        """
        start, stop = self.offsets[index], self.offsets[index + 1]
        following = -1
        if index + 1 < self.n_windows and self.documents[index + 1] == self.documents[index]:
            following = int(self.token_ids[stop])
        return np.append(self.token_ids[start + 1 : stop], following).astype(np.int64)

    def answer(self, index: int) -> NDArray[np.bool_]:
        """Return which tokens of a window are the teacher's answer, bool; none in plain text."""
        if self.answers is None:
            return np.zeros(len(self.window(index)), dtype=np.bool_)
        return self.answers[self.offsets[index] : self.offsets[index + 1]]

    def document(self, document: int) -> NDArray[np.int32]:
        """Return all token ids of a document, int32."""
        first, last = np.searchsorted(self.documents, [document, document + 1])
        return self.token_ids[self.offsets[first] : self.offsets[last]]

    def context(
        self, document: int, position: int, before: int, after: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the tokens around a place in a document.

        Args:
            document: index of the document.
            position: token position within it.
            before: most tokens of the left part, which ends with the token at ``position``.
            after: most tokens of the right part, which starts with the next token.
        """
        ids = self.document(document)
        return ids[max(0, position + 1 - before) : position + 1], ids[position + 1 :][:after]


def build_corpus(
    store: ArtifactStore, config: CorpusConfig, teacher: Artifact, *, progress: Progress = silent
) -> Artifact:
    """Read, tokenize and cut a corpus, unless that is done already.

    Memory: the tokens taken where ``max_tokens`` is set (4 bytes each); else one document and
    about 300 bytes of names for each document. Tokens are written chunk by chunk.

    Args:
        store: where the artifact is kept.
        config: the source and the cut.
        teacher: an artifact whose folder holds the tokenizer.
        progress: told bytes of the source read, documents and tokens.

    Raises:
        ConfigError: if the source is unknown, or ``window_tokens`` leaves no room after the prefix
            or is more than the teacher reads.
        DataError: if the source is damaged or no document is left.
    """
    tokenizer = load_tokenizer(teacher.folder())
    room = config.window_tokens - len(tokenizer.prefix)
    if room < 2:
        raise ConfigError(
            f"corpus.window_tokens {config.window_tokens} leaves {room} tokens of text after the "
            f"tokenizer's prefix of {len(tokenizer.prefix)}; raise it."
        )
    most = most_positions(teacher.folder())
    if most is not None and config.window_tokens > most:
        raise ConfigError(
            f"corpus.window_tokens {config.window_tokens} is more than the {most} tokens that the "
            "teacher reads at once (max_position_embeddings); lower it."
        )
    work = Work(
        STAGE,
        config=config.model_dump(mode="json", exclude={"source"}),
        inputs={"tokenizer": tokenizer.fingerprint, "source": source_fingerprint(config)},
        version=2,
    )
    if found := store.find(work):
        return found
    with store.publish(work) as draft:
        _fill(draft, config, tokenizer, room, progress)
    return store.get(work.stage, work.fingerprint)


def load_windows(corpus: Artifact) -> Windows:
    """Read all windows of a corpus, or of prompts."""
    group = corpus.group("windows.zarr")
    table = corpus.table("documents.parquet")
    names = ("token_ids", "offsets", "documents", "starts", "heldout")
    arrays: dict[str, Any] = {name: np.asarray(open_array(group, name)[:]) for name in names}
    if "answers" in group:
        arrays["answers"] = np.asarray(group["answers"][:])
    prefix: Any = group.attrs["prefix"]
    return Windows(**arrays, document_hashes=table["key"].to_numpy(), prefix=tuple(prefix))


def _fill(
    draft: Draft, config: CorpusConfig, tokenizer: Tokenizer, room: int, progress: Progress
) -> None:
    reading = Reading()
    taken = take_documents(config, tokenizer, reading, progress)
    group = draft.write_group("windows.zarr")
    group.attrs.update({"prefix": list(tokenizer.prefix), "window_tokens": config.window_tokens})
    documents = _write_tokens(group, taken)
    if not documents:
        raise DataError(
            f"The corpus {config.source!r} has no usable document (skipped: "
            f"{reading.report()['skipped']}); check corpus.format, text_field and "
            "min_document_tokens."
        )
    heldout = windows.choose_heldout(
        [d.given_id for d in documents], config.heldout_share, config.seed
    )
    lengths = np.array([d.n_tokens for d in documents], dtype=np.int64)
    cut = windows.cut(lengths, room)
    for name, values in (*cut._asdict().items(), ("heldout", heldout[cut.documents])):
        _array(group, name, values.dtype, len(values))[:] = values
    draft.write_table("documents.parquet", _documents_table(documents, heldout))
    draft.counts |= {
        "n_documents": len(documents),
        "n_heldout_documents": int(heldout.sum()),
        "n_windows": len(cut.documents),
        "n_heldout_windows": int(heldout[cut.documents].sum()),
        "n_tokens": int(lengths.sum()),
        "n_heldout_tokens": int(lengths[heldout].sum()),
    }
    if n_files := sum(reading.counts[code] for code in LEFT_OUT_FILES):
        draft.counts["n_files_left_out"] = n_files
        names = [name for code in LEFT_OUT_FILES for name in reading.places.get(code, ())]
        _log.warning(
            "The corpus %s: %d files are left out (%s), being in no format that is read.",
            config.source,
            n_files,
            ", ".join(map(repr, names[:MAX_NAMES])),
        )
    draft.report |= reading.report()


@dataclass(frozen=True)
class _Written:
    document_id: str
    given_id: str
    title: str
    n_tokens: int


def _write_tokens(group: zarr.Group, documents: Iterable[Tokenized]) -> list[_Written]:
    """Write the ids of all documents in whole chunks; return what is left to know of them."""
    written: list[_Written] = []
    waiting = [np.empty(0, dtype=np.int32)]
    n_waiting, array = 0, None
    for document in documents:
        size = len(document.ids)
        written.append(_Written(document.document_id, document.given_id, document.title, size))
        waiting.append(document.ids)
        n_waiting += size
        if n_waiting >= _CHUNK_ITEMS:
            array = array if array is not None else _array(group, "token_ids", np.int32, 0)
            ids = np.concatenate(waiting)
            whole = n_waiting - n_waiting % _CHUNK_ITEMS
            array.append(ids[:whole])
            waiting, n_waiting = [ids[whole:]], n_waiting - whole
    rest = np.concatenate(waiting)
    if array is None:
        _array(group, "token_ids", np.int32, len(rest))[:] = rest
    elif n_waiting:
        array.append(rest)
    return written


def _array(group: zarr.Group, name: str, dtype: Any, size: int) -> zarr.Array:
    chunk_rows = min(size, _CHUNK_ITEMS) or _CHUNK_ITEMS
    return new_array(group, name, (size,), dtype, chunk_rows=chunk_rows)


def _documents_table(documents: list[_Written], heldout: NDArray[np.bool_]) -> pa.Table:
    hashes = [windows.document_hash(d.document_id) for d in documents]
    return pa.table(
        {
            "document": pa.array(range(len(documents)), pa.int32()),
            "document_id": pa.array([d.document_id for d in documents], pa.string()),
            "title": pa.array([d.title for d in documents], pa.string()),
            "n_tokens": pa.array([d.n_tokens for d in documents], pa.int32()),
            "heldout": pa.array(heldout, pa.bool_()),
            "key": pa.array(hashes, pa.uint64()),
        }
    )
