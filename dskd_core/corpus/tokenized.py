"""Documents as token ids: which are taken, in the order of the source, and how much of each."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from dskd_core.config import CorpusConfig
from dskd_core.corpus.documents import Document, Reading, Wanted, every
from dskd_core.corpus.readers import read_documents
from dskd_core.corpus.windows import order_key
from dskd_core.decoder.tokenizer import Tokenizer
from dskd_core.progress import Progress, silent

_BATCH_BYTES = 1 << 20
"""Text that is tokenized at once, on all cores."""


@dataclass(frozen=True)
class Tokenized:
    """A document as token ids; ``document_id`` is unique, ``given_id`` what its source calls it."""

    document_id: str
    given_id: str
    title: str
    ids: NDArray[np.int32]


def take_documents(
    config: CorpusConfig, tokenizer: Tokenizer, reading: Reading, progress: Progress = silent
) -> Iterable[Tokenized]:
    """Read and tokenize documents, in the order of the source.

    With ``max_tokens`` those are taken that come first in an order fixed by the seed, until so many
    tokens are reached; the last one is cut to fit. One pass: a document that comes later in that
    order than all those held, when they suffice already, is passed over unread.
    """
    if config.max_tokens is None:
        return _tokenized(config, tokenizer, reading, progress, every)
    held: list[tuple[int, int, Tokenized]] = []  # a heap, the last in the order on top
    n_tokens, limit = 0, config.max_tokens

    def wanted(document_id: str) -> bool:
        late = n_tokens >= limit and order_key(document_id, config.seed) > -held[0][0]
        if late:
            reading.note("beyond_max_tokens", document_id)
        return not late

    for index, document in enumerate(_tokenized(config, tokenizer, reading, progress, wanted)):
        key = order_key(document.given_id, config.seed)
        heappush(held, (-key, -index, document))
        n_tokens += len(document.ids)
        while n_tokens - len(held[0][2].ids) >= limit:
            dropped = heappop(held)[2]
            n_tokens -= len(dropped.ids)
            reading.note("beyond_max_tokens", dropped.document_id)
    return _fit(held, n_tokens - limit, config, reading)


def _fit(
    held: list[tuple[int, int, Tokenized]], excess: int, config: CorpusConfig, reading: Reading
) -> list[Tokenized]:
    if held and excess > 0:
        key, index, last = held[0]
        left = len(last.ids) - excess
        if left >= config.min_document_tokens:
            held[0] = (key, index, replace(last, ids=last.ids[:left]))
            reading.note("cut_document", last.document_id)
        else:
            held = held[1:]
            reading.note("beyond_max_tokens", last.document_id)
    return [document for _, _, document in sorted(held, key=lambda entry: -entry[1])]


def _tokenized(
    config: CorpusConfig,
    tokenizer: Tokenizer,
    reading: Reading,
    progress: Progress,
    wanted: Wanted,
) -> Iterator[Tokenized]:
    seen: set[str] = set()
    n_tokens = n_documents = 0
    documents, limit = read_documents(config, reading, wanted), config.max_tokens
    while batch := _batch(documents, _BATCH_BYTES if limit is None else limit - n_tokens):
        every_ids = tokenizer.encode_texts([document.text for document in batch])
        for document, ids in zip(batch, every_ids, strict=True):
            n_documents += 1
            document_id = _unique(document, seen, reading)
            if kept := _kept(ids, document, document_id, config, reading):
                n_tokens += len(kept)
                array = np.array(kept, dtype=np.int32)
                yield Tokenized(document_id, document.id, document.title, array)
        total = max(reading.n_bytes_total, reading.n_bytes)
        progress(reading.n_bytes, total, "bytes", documents=n_documents, tokens=n_tokens)


def _batch(documents: Iterator[Document], room: int) -> list[Document]:
    """Return the next documents, which are tokenized together; none when there are no more.

    Args:
        documents: in the order of the source.
        room: tokens until there are enough. A token takes a byte at least, so all but the last of a
            batch are surely wanted; where there are enough, each comes alone, and which is passed
            over is decided by all before it.
    """
    batch, n_bytes = list[Document](), 0
    for document in documents:
        batch.append(document)
        n_bytes += len(document.text.encode())
        if n_bytes >= min(room, _BATCH_BYTES):
            break
    return batch


def _unique(document: Document, seen: set[str], reading: Reading) -> str:
    document_id, number = document.id, 1
    while document_id in seen:
        number += 1
        document_id = f"{document.id}#{number}"
    if number > 1:
        reading.note("duplicate_id", document_id)
    seen.add(document_id)
    return document_id


def _kept(
    ids: list[int], document: Document, document_id: str, config: CorpusConfig, reading: Reading
) -> list[int]:
    if not document.text.strip():
        reading.note("empty_document", document_id)
        return []
    if len(ids) < config.min_document_tokens:
        reading.note("short_document", document_id)
        return []
    if config.max_document_tokens is not None and len(ids) > config.max_document_tokens:
        reading.note("cut_document", document_id)
        ids = ids[: config.max_document_tokens]
    return ids
