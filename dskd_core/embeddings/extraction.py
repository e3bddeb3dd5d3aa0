"""The teacher's final state at every position, and the token it is filed under."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dskd_core.config import EmbeddingsConfig
from dskd_core.corpus.store import Windows
from dskd_core.decoder.batches import padded, plan_batches
from dskd_core.decoder.decoder import Decoder
from dskd_core.decoder.states import require_finite
from dskd_core.embeddings.census import Census
from dskd_core.embeddings.sampling import occurrence_hashes
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

    def __getitem__(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> "Occurrences":
        return Occurrences(
            self.tokens[rows], self.documents[rows], self.positions[rows], self.hashes[rows]
        )


def training_batches(census: Census, config: EmbeddingsConfig) -> list[NDArray[np.int64]]:
    """Return the batches of all windows with something to keep, the same for every sharding."""
    return plan_batches(census.lengths, np.flatnonzero(census.lengths > 0), config.batch_tokens)


def extract(
    model: Decoder,
    windows: Windows,
    census: Census,
    batches: Sequence[NDArray[np.int64]],
    config: EmbeddingsConfig,
    special: frozenset[int],
    progress: Progress,
    shard_name: str = "",
) -> tuple[Tensor, Occurrences, NDArray[np.int64]]:
    """Return the states that the census admits, what they are, and what was met on the way.

    Args:
        model: the teacher.
        windows: the corpus.
        census: how far each window is run, and the limit of each token.
        batches: window numbers, a batch each, as :func:`training_batches` gives them.
        config: the key and the seed of the hashes.
        special: tokens that are no text; nothing is filed under them.
        progress: told tokens.
        shard_name: for the message of an error.

    Returns:
        (states [n, d] in the teacher's dtype on the CPU, occurrences of n rows, [v] int64 how
        often each token was met at the positions run, kept or not).

    Raises:
        DataError: if a state is NaN or infinite.
    """
    states: list[Tensor] = []
    kept: list[Occurrences] = []
    met = np.zeros(model.n_tokens, dtype=np.int64)
    n_total = sum(int(census.lengths[batch].sum()) for batch in batches)
    n_done = 0
    excluded = np.append(np.fromiter(special, dtype=np.int64, count=len(special)), -1)
    for batch in batches:
        found, occurrences = _read_batch(model, windows, census, batch, config)
        require_finite(found, shard_name)
        text = ~np.isin(occurrences.tokens, excluded)
        met += np.bincount(occurrences.tokens[text], minlength=len(met))
        admitted = text & census.admits(occurrences.tokens, occurrences.hashes)
        rows = torch.from_numpy(np.flatnonzero(admitted)).to(found.device)
        states.append(found.index_select(0, rows).cpu())
        kept.append(occurrences[admitted])
        n_done += len(occurrences.tokens)
        progress(n_done, n_total, "tokens")
    columns: dict[str, Any] = {
        column.name: np.concatenate([getattr(piece, column.name) for piece in kept])
        for column in fields(Occurrences)
    }
    return torch.cat(states), Occurrences(**columns), met


@torch.inference_mode()
def _read_batch(
    model: Decoder,
    windows: Windows,
    census: Census,
    batch: NDArray[np.int64],
    config: EmbeddingsConfig,
) -> tuple[Tensor, Occurrences]:
    """Return the states [n, d] of a batch without its padding, and under what each is filed."""
    lengths = census.lengths[batch]
    rows = [windows.window(int(w))[:n] for w, n in zip(batch, lengths, strict=True)]
    states = _run(model, rows, windows.prefix)
    if config.key == "predicted":
        tokens = model.predictions(states).cpu().numpy()
    elif config.key == "next":
        tokens = np.concatenate(
            [windows.next_tokens(int(w))[:n] for w, n in zip(batch, lengths, strict=True)]
        )
    else:
        tokens = np.concatenate(rows).astype(np.int64)
    documents = np.repeat(windows.documents[batch], lengths)
    positions = np.concatenate(
        [windows.starts[w] + np.arange(n) for w, n in zip(batch, lengths, strict=True)]
    )
    hashes = occurrence_hashes(windows.document_keys[documents], positions, config.seed)
    return states, Occurrences(tokens, documents, positions.astype(np.int32), hashes)


def _run(model: Decoder, rows: Sequence[NDArray[np.int32]], prefix: Sequence[int]) -> Tensor:
    """Run the teacher over windows; return the states [n, d] of their tokens, end to end."""
    lengths = [len(prefix) + len(row) for row in rows]
    states = model.states(padded(rows, prefix).to(model.device), lengths)[:, len(prefix) :]
    if all(len(row) == states.shape[1] for row in rows):
        return states.flatten(0, 1)
    return torch.cat([line[: len(row)] for line, row in zip(states, rows, strict=True)])
