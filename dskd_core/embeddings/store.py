"""Embeddings on disk: one part a shard, rows sorted by token, and an index over all parts.

A part (``part.zarr`` of a ``embeddings-shard`` artifact) holds

    tokens    [t]     int32    tokens with rows in this part, ascending
    offsets   [t + 1] int64    rows of token i are offsets[i]:offsets[i + 1]
    states    [n, d]  16 bits  final states (after the norm); attribute ``dtype`` says which bits
    documents [n]     int32    index into the corpus' documents
    positions [n]     int32    token position in the document at which the state stands
    hashes    [n]     uint64   see sampling.py; ascending within a token

The index (``index.zarr`` of the ``embeddings`` artifact) has ``tokens``, ``n_rows`` and the
``limits`` of the hash that make the sample of all parts together exactly ``max_occurrences``.
Nothing is rewritten when parts are joined, and the sample does not depend on how they were cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import zarr
from numpy.typing import NDArray

from dskd_core.arrays import get_array, put_array
from dskd_core.artifacts import Artifact, ArtifactStore, Work
from dskd_core.config import EmbeddingsConfig, TeacherConfig
from dskd_core.corpus.store import load_windows
from dskd_core.embeddings.extraction import Occurrences, extract, training_batches
from dskd_core.embeddings.sampling import hash_limits, smallest_per_token
from dskd_core.embeddings.states import decode_states, encode_states
from dskd_core.embeddings.teacher import device_lock, load_teacher
from dskd_core.errors import ArtifactError, DataError
from dskd_core.progress import Progress, silent
from dskd_core.shards import Shard, cut
from dskd_core.tokenizers import load_tokenizer

PART = "part.zarr"
INDEX = "index.zarr"


@dataclass(frozen=True)
class TokenRows:
    """The embeddings of consecutive tokens.

    Attributes:
        tokens: [t] int32, ascending.
        offsets: [t + 1] int64; rows of token i are ``offsets[i]:offsets[i + 1]``.
        states: [n, d] float32.
        documents: [n] int32, index into the corpus' documents.
        positions: [n] int32, token position in the document.
    """

    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]
    states: NDArray[np.float32]
    documents: NDArray[np.int32]
    positions: NDArray[np.int32]


def plan_shards(corpus: Artifact, config: EmbeddingsConfig) -> list[Shard]:
    """Cut the batches of the training windows into shards of ``shard_tokens``."""
    windows = load_windows(corpus)
    weights = [int(windows.lengths[batch].sum()) for batch in training_batches(windows, config)]
    return cut(weights, config.shard_tokens)


def extract_shard(
    store: ArtifactStore,
    config: EmbeddingsConfig,
    teacher_config: TeacherConfig,
    teacher: Artifact,
    corpus: Artifact,
    shard: Shard,
    *,
    progress: Progress = silent,
) -> Artifact:
    """Run the teacher over the batches of a shard and keep its sample of final states.

    Holds the states of the shard in memory: ``shard_tokens * d`` values of 16 bits.

    Raises:
        ArtifactError: if the corpus was made with another tokenizer than the teacher's.
        DataError: if the teacher gives NaN, or a value that float16 cannot hold.
    """
    work = Work(
        "embeddings-shard",
        _content_settings(config) | {"batches": [shard.start, shard.stop]},
        {"teacher": teacher.fingerprint, "corpus": corpus.fingerprint},
    )
    if found := store.find(work):
        return found
    tokenizer = load_tokenizer(teacher.folder())
    if (theirs := corpus.record.inputs["tokenizer"]) != tokenizer.fingerprint:
        raise ArtifactError(
            f"The corpus {corpus.fingerprint} was made with tokenizer {theirs}, but the teacher "
            f"{teacher.record.report['source']} ({teacher.fingerprint}) has "
            f"{tokenizer.fingerprint}; build the corpus for this teacher."
        )
    windows = load_windows(corpus)
    with device_lock, store.publish(work) as draft:
        model = load_teacher(teacher, teacher_config)
        batches = training_batches(windows, config)[shard.start : shard.stop]
        states, occurrences = extract(
            model, windows, batches, config, tokenizer.special_ids, progress
        )
        kept = smallest_per_token(occurrences.tokens, occurrences.hashes, config.max_occurrences)
        group = draft.write_group(PART)
        _write_part(group, encode_states(states, config.state_dtype, shard.name), occurrences, kept)
        group.attrs["dtype"] = config.state_dtype
        draft.counts |= {
            "windows": sum(len(batch) for batch in batches),
            "occurrences": len(occurrences.tokens),
            "rows": len(kept),
        }
    return store.get(work.stage, work.fingerprint)


def collect_embeddings(
    store: ArtifactStore,
    config: EmbeddingsConfig,
    teacher: Artifact,
    corpus: Artifact,
    parts: Sequence[Artifact],
) -> Artifact:
    """Index all parts: which tokens have embeddings, how many, and the cap over all parts."""
    work = Work(
        "embeddings",
        _content_settings(config),
        {"teacher": teacher.fingerprint, "corpus": corpus.fingerprint},
    )
    if found := store.find(work):
        return found
    with store.publish(work) as draft:
        tokens, hashes = _all_hashes(parts)
        unique, n_rows, limits = hash_limits(tokens, hashes, config.max_occurrences)
        group = draft.write_group(INDEX)
        put_array(group, "tokens", unique)
        put_array(group, "n_rows", n_rows)
        put_array(group, "limits", limits)
        states = parts[0].group(PART)["states"]
        group.attrs.update(
            {"hidden_size": states.shape[1], "dtype": config.state_dtype, "key": config.key}
        )
        draft.counts |= {
            "parts": len(parts),
            "tokens": len(unique),
            "rows": int(n_rows.sum()),
            "capped_tokens": int((n_rows == config.max_occurrences).sum()),
            "occurrences": sum(part.record.counts["occurrences"] for part in parts),
        }
        draft.report["parts"] = [part.fingerprint for part in parts]
    return store.get(work.stage, work.fingerprint)


@dataclass(frozen=True)
class Embeddings:
    """A reader over all parts of an ``embeddings`` artifact."""

    artifact: Artifact
    parts: tuple[Artifact, ...]

    @cached_property
    def _index(self) -> zarr.Group:
        return self.artifact.group(INDEX)

    @cached_property
    def tokens(self) -> NDArray[np.int32]:
        """[n_tokens] int32: tokens with at least one row, ascending."""
        return get_array(self._index, "tokens")

    @cached_property
    def n_rows(self) -> NDArray[np.int64]:
        """[n_tokens] int64: rows of each token, after the cap."""
        return get_array(self._index, "n_rows")

    @cached_property
    def _limits(self) -> NDArray[np.uint64]:
        return get_array(self._index, "limits")

    @property
    def hidden_size(self) -> int:
        """The size d of a state."""
        return int(self._index.attrs["hidden_size"])

    @property
    def key(self) -> str:
        """Which token a state is filed under: predicted, next or input."""
        return str(self._index.attrs["key"])

    @cached_property
    def _groups(self) -> list[tuple[zarr.Group, NDArray[np.int32], NDArray[np.int64]]]:
        groups = [part.group(PART) for part in self.parts]
        return [(g, get_array(g, "tokens"), get_array(g, "offsets")) for g in groups]

    def read(self, start: int, stop: int) -> TokenRows:
        """Read the rows of ``tokens[start:stop]``, ordered by token and then by hash.

        One contiguous slice of every part is read, so the order and the bits do not depend on
        how many parts there are.

        Raises:
            DataError: if a state is NaN; the message names the part.
        """
        wanted = self.tokens[start:stop]
        slices = [self._read_part(i, wanted) for i in range(len(self.parts))]
        tokens, hashes, documents, positions, states = (
            np.concatenate([piece[column] for piece in slices]) for column in range(5)
        )
        limits = self._limits[start:stop][np.searchsorted(wanted, tokens)]
        kept = np.flatnonzero(hashes <= limits)
        order = kept[np.lexsort((hashes[kept], tokens[kept]))]
        counts = np.bincount(np.searchsorted(wanted, tokens[order]), minlength=len(wanted))
        offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        return TokenRows(wanted, offsets, states[order], documents[order], positions[order])

    def _read_part(self, part: int, wanted: NDArray[np.int32]) -> tuple[np.ndarray, ...]:
        group, tokens, offsets = self._groups[part]
        low, high = np.searchsorted(tokens, [wanted[0], wanted[-1] + 1]) if len(wanted) else (0, 0)
        rows = slice(int(offsets[low]), int(offsets[high]))
        states = decode_states(np.asarray(group["states"][rows]), str(group.attrs["dtype"]))
        if not np.isfinite(states).all():
            raise DataError(
                f"The part {self.parts[part].uri} holds NaN or infinite states; "
                "delete that folder and run the stage again."
            )
        return (
            np.repeat(tokens[low:high], np.diff(offsets[low : high + 1])),
            *(np.asarray(group[name][rows]) for name in ("hashes", "documents", "positions")),
            states,
        )


def load_embeddings(artifact: Artifact, store: ArtifactStore) -> Embeddings:
    """Open an ``embeddings`` artifact and its parts.

    Raises:
        ArtifactError: if a part is gone.
    """
    parts = [store.get("embeddings-shard", name) for name in artifact.record.report["parts"]]
    return Embeddings(artifact, tuple(parts))


def _content_settings(config: EmbeddingsConfig) -> dict[str, object]:
    """Settings that change the sample; how it is cut into shards does not."""
    return config.model_dump(mode="json", exclude={"shard_tokens"})


def _write_part(
    group: zarr.Group, states: np.ndarray, occurrences: Occurrences, kept: NDArray[np.int64]
) -> None:
    tokens, counts = np.unique(occurrences.tokens[kept], return_counts=True)
    put_array(group, "tokens", tokens.astype(np.int32))
    put_array(group, "offsets", np.concatenate(([0], np.cumsum(counts))).astype(np.int64))
    put_array(group, "states", states[kept])
    put_array(group, "documents", occurrences.documents[kept])
    put_array(group, "positions", occurrences.positions[kept])
    put_array(group, "hashes", occurrences.hashes[kept])


def _all_hashes(parts: Sequence[Artifact]) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
    groups = [part.group(PART) for part in parts]
    tokens = [np.repeat(get_array(g, "tokens"), np.diff(get_array(g, "offsets"))) for g in groups]
    return np.concatenate(tokens), np.concatenate([get_array(g, "hashes") for g in groups])
