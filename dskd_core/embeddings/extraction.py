"""The teacher's final state at every position, and the token it is filed under."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dskd_core.ahead import made_ahead
from dskd_core.config import EmbeddingsConfig
from dskd_core.corpus.store import Windows
from dskd_core.decoder.batches import padded, plan_batches
from dskd_core.decoder.decoder import Decoder
from dskd_core.decoder.placement import Leaving, onto
from dskd_core.decoder.states import all_finite, require_finite
from dskd_core.embeddings.census import Census
from dskd_core.embeddings.sampling import occurrence_hashes
from dskd_core.progress import Progress

_BATCHES_LEAVING = 2


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

    The device has the next batch to run while the host files one, and a thread takes rows that left
    it. A GPU is waited for once a batch, for the batch before the one it is at. Nothing is filed
    under ``special`` tokens, which are no text.

    Returns:
        (states [n, d] in the teacher's dtype on the CPU, occurrences of n rows, [v] int64 how
        often each token was met at the positions run, kept or not).

    Raises:
        DataError: if a state is NaN or infinite.
    """
    met = np.zeros(model.n_tokens, dtype=np.int64)
    n_total = sum(int(census.lengths[batch].sum()) for batch in batches)
    n_done = 0
    excluded = np.append(np.fromiter(special, dtype=np.int64, count=len(special)), -1)

    def admitted() -> Iterator[tuple[Leaving, Occurrences]]:
        nonlocal n_done, met
        for run in _run_one_ahead(model, windows, census, batches, config):
            occurrences = run.occurrences(shard_name)
            text = ~np.isin(occurrences.tokens, excluded)
            met += np.bincount(occurrences.tokens[text], minlength=len(met))
            rows = np.flatnonzero(text & census.admits(occurrences.tokens, occurrences.hashes))
            place = onto(torch.from_numpy(rows), run.states.device)
            yield Leaving(run.states.index_select(0, place)), occurrences[rows]
            n_done += len(occurrences.tokens)
            progress(n_done, n_total, "tokens")

    states: list[Tensor] = []
    kept: list[Occurrences] = []
    for piece, occurrences in made_ahead(_landed, admitted(), depth=_BATCHES_LEAVING):
        states.append(piece)
        kept.append(occurrences)
    columns: dict[str, Any] = {
        column.name: np.concatenate([getattr(piece, column.name) for piece in kept])
        for column in fields(Occurrences)
    }
    return torch.cat(states), Occurrences(**columns), met


def _landed(leaving: tuple[Leaving, Occurrences]) -> tuple[Tensor, Occurrences]:
    """Return the rows of a batch once they are on the host; run in a thread."""
    states, occurrences = leaving
    return states.unpinned(), occurrences


@dataclass(frozen=True)
class _Run:
    """A batch that the device was asked to run.

    Attributes:
        states: [n, d], those of its windows without padding.
        asked: int64, 1 if all of them are finite, and then the predicted tokens, if these file.
        told: of each row what the host knows; its tokens are still to come where they are asked.
    """

    states: Tensor
    asked: Leaving
    told: Occurrences

    def occurrences(self, shard_name: str) -> Occurrences:
        """Wait for what was asked; say what each row is.

        Raises:
            DataError: if a state is NaN or infinite.
        """
        is_finite, *_ = asked = self.asked.arrived().numpy()
        require_finite(bool(is_finite), shard_name)
        return replace(self.told, tokens=asked[1:]) if len(asked) > 1 else self.told


def _run_one_ahead(
    model: Decoder,
    windows: Windows,
    census: Census,
    batches: Sequence[NDArray[np.int64]],
    config: EmbeddingsConfig,
) -> Iterator[_Run]:
    """Yield batches in order, each when the device has been asked for the one after it."""
    before = None
    for batch in batches:
        run = _run_batch(model, windows, census, batch, config)
        if before is not None:
            yield before
        before = run
    if before is not None:
        yield before


@torch.inference_mode()
def _run_batch(
    model: Decoder,
    windows: Windows,
    census: Census,
    batch: NDArray[np.int64],
    config: EmbeddingsConfig,
) -> _Run:
    """Run the teacher over a batch, without waiting for it."""
    lengths = census.lengths[batch]
    rows = [windows.window(int(w))[:n] for w, n in zip(batch, lengths, strict=True)]
    states = _run(model, rows, windows.prefix)
    asked = [all_finite(states).long()[None]]
    if config.key == "predicted":
        tokens = np.empty(len(states), dtype=np.int64)
        asked.append(model.predictions(states))
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
    hashes = occurrence_hashes(windows.document_hashes[documents], positions, config.seed)
    told = Occurrences(tokens, documents, positions.astype(np.int32), hashes)
    return _Run(states, Leaving(torch.cat(asked)), told)


def _run(model: Decoder, rows: Sequence[NDArray[np.int32]], prefix: Sequence[int]) -> Tensor:
    """Run the teacher over windows; return the states [n, d] of their tokens, end to end."""
    lengths = [len(prefix) + len(row) for row in rows]
    ids = onto(padded(rows, prefix), model.device)
    states = model.states(ids, lengths)[:, len(prefix) :]
    if all(len(row) == states.shape[1] for row in rows):
        return states.flatten(0, 1)
    return torch.cat([line[: len(row)] for line, row in zip(states, rows, strict=True)])
