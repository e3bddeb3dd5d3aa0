"""The teacher's final state at every position, and the token it is filed under."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dskd_core.config import EmbeddingsConfig
from dskd_core.corpus.store import Windows
from dskd_core.embeddings.batches import next_tokens, padded, plan_batches
from dskd_core.embeddings.sampling import occurrence_hashes
from dskd_core.embeddings.teacher import Teacher
from dskd_core.progress import Progress


@dataclass(frozen=True)
class Occurrences:
    """Which token, where, row by row, before anything is grouped by token.

    Attributes:
        tokens: [n] int64, the token a state is filed under.
        documents: [n] int32, index into the corpus' documents.
        positions: [n] int32, token position in the document.
        hashes: [n] uint64, see sampling.py.
    """

    tokens: NDArray[np.int64]
    documents: NDArray[np.int32]
    positions: NDArray[np.int32]
    hashes: NDArray[np.uint64]


def training_batches(windows: Windows, config: EmbeddingsConfig) -> list[NDArray[np.int64]]:
    """Return the batches of all windows that are not held out, the same for every sharding."""
    training = np.flatnonzero(~windows.heldout)
    return plan_batches(windows.lengths, training, config.batch_tokens)


def extract(
    model: Teacher,
    windows: Windows,
    batches: Sequence[NDArray[np.int64]],
    config: EmbeddingsConfig,
    special: frozenset[int],
    progress: Progress,
) -> tuple[Tensor, Occurrences]:
    """Return the states of all occurrences of the batches, and what they are.

    Args:
        model: the teacher.
        windows: the corpus.
        batches: window numbers, a batch each.
        config: the key and the seed of the hashes.
        special: tokens that are no text; nothing is filed under them.
        progress: told tokens.

    Returns:
        (states [n, d] in the teacher's dtype on the CPU, occurrences of n rows).
    """
    pieces: list[tuple[Tensor, Occurrences]] = []
    n_total = sum(int(windows.lengths[batch].sum()) for batch in batches)
    n_done = 0
    excluded = np.fromiter(special, dtype=np.int64, count=len(special))
    for batch in batches:
        for states, tokens, window in _run_batch(model, windows, batch, config.key):
            places = windows.starts[window] + np.arange(len(tokens))
            kept = np.flatnonzero((tokens >= 0) & ~np.isin(tokens, excluded))
            document = int(windows.documents[window])
            keys = np.full(len(kept), windows.document_keys[document], dtype=np.uint64)
            occurrences = Occurrences(
                tokens[kept],
                np.full(len(kept), document, dtype=np.int32),
                places[kept].astype(np.int32),
                occurrence_hashes(keys, places[kept], config.seed),
            )
            pieces.append((states[torch.from_numpy(kept)].cpu(), occurrences))
        n_done += int(windows.lengths[batch].sum())
        progress(n_done, n_total, "tokens")
    columns = [o for _, o in pieces]
    return torch.cat([s for s, _ in pieces]), Occurrences(
        np.concatenate([o.tokens for o in columns]),
        np.concatenate([o.documents for o in columns]),
        np.concatenate([o.positions for o in columns]),
        np.concatenate([o.hashes for o in columns]),
    )


@torch.inference_mode()
def _run_batch(
    model: Teacher, windows: Windows, batch: NDArray[np.int64], key: str
) -> Iterator[tuple[Tensor, NDArray[np.int64], int]]:
    """Yield per window its states [n, d], the token each is filed under (-1: none), its number."""
    rows = [windows.window(int(window)) for window in batch]
    ids = padded(rows, windows.prefix).to(model.device)
    states = model.states(ids)[:, len(windows.prefix) :]
    # One call a batch, padding included, reads the head's weights from memory less often.
    predicted = model.predictions(states.flatten(0, 1)) if key == "predicted" else None
    for line, (window, row) in enumerate(zip(batch, rows, strict=True)):
        own = states[line, : len(row)]
        if predicted is not None:
            tokens = predicted.view(states.shape[:2])[line, : len(row)].cpu().numpy()
        elif key == "next":
            tokens = next_tokens(windows, int(window))
        else:
            tokens = row.astype(np.int64)
        yield own, tokens, int(window)
