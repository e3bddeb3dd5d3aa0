"""Senses on disk: the inventory of Eq. 1 and the text that shows what each sense means.

``senses.zarr`` of a ``senses`` artifact holds

    tokens        [t]     int32    tokens with senses, ascending
    offsets       [t + 1] int64    senses of token i are rows offsets[i]:offsets[i + 1]
    centroids     [n, d]  float16  the largest sense of a token first (float32 if one overflows)
    counts        [n]     int32    embeddings of each sense
    n_occurrences [t]     int32    embeddings of each token
    inertia       [t]     float32  sum of squared distances to the nearest sense

and ``examples.parquet`` the occurrences nearest to each centroid with their text. A part
(``senses-shard``, one range of tokens) is the same with float32 centroids and without the text.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import zarr
from numpy.typing import NDArray

from dskd_core.arrays import get_array, new_array, put_array
from dskd_core.artifacts import Artifact, ArtifactStore, Draft, Work
from dskd_core.config import SensesConfig
from dskd_core.corpus.store import load_windows
from dskd_core.embeddings.fitting import until_it_fits
from dskd_core.embeddings.store import Embeddings, load_embeddings
from dskd_core.errors import ArtifactError
from dskd_core.progress import Progress, silent
from dskd_core.senses.examples import nearest_examples, write_examples
from dskd_core.senses.kmeans import Clustering
from dskd_core.senses.pieces import cluster_rows, read_ahead
from dskd_core.senses.price import build_price, price_of
from dskd_core.shards import Shard, cut
from dskd_core.tokenizers import load_tokenizer

GROUP = "senses.zarr"
EXAMPLES = "examples.parquet"
_CHUNK_BYTES = 16 << 20
_MIN_BATCH_BYTES = 1 << 20
_FLOAT16_MAX = float(np.finfo(np.float16).max)
_NOT_CONTENT = {"device", "batch_bytes", "shard_rows"}
_ADAPTIVE = {"choice", "max_senses", "max_bytes", "n_sampled"}


@dataclass(frozen=True)
class SenseInventory:
    """All senses of all tokens, in memory.

    Attributes:
        tokens: [t] int32, ascending.
        offsets: [t + 1] int64; senses of token i are rows ``offsets[i]:offsets[i + 1]``.
        centroids: [n, d] float16 or float32, the largest sense of a token first.
        counts: [n] int32, embeddings of each sense.
        n_occurrences: [t] int32, embeddings of each token.
        inertia: [t] float32.
        key: the token a state was filed under: predicted, next or input.
    """

    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]
    centroids: NDArray[np.floating]
    counts: NDArray[np.int32]
    n_occurrences: NDArray[np.int32]
    inertia: NDArray[np.float32]
    key: str

    def lookup(self, token_id: int) -> NDArray[np.floating]:
        """Return the senses of a token, [k_i, d]; none (k_i = 0) if it never occurred."""
        index = int(np.searchsorted(self.tokens, token_id))
        if index == len(self.tokens) or self.tokens[index] != token_id:
            return self.centroids[:0]
        return self.centroids[self.offsets[index] : self.offsets[index + 1]]


def plan_ranges(embeddings: Artifact, store: ArtifactStore, config: SensesConfig) -> list[Shard]:
    """Cut the tokens into ranges of at most ``shard_rows`` embeddings."""
    return cut(load_embeddings(embeddings, store).n_rows, config.shard_rows)


def cluster_range(
    store: ArtifactStore,
    config: SensesConfig,
    embeddings: Artifact,
    corpus: Artifact,
    shard: Shard,
    *,
    progress: Progress = silent,
) -> Artifact:
    """Cluster the embeddings of the tokens of one range.

    Rows are read ahead of the arithmetic in pieces of ``batch_bytes``: one is in use, one is being
    read (for a moment three times over, while it is sorted), and the backend has one batch, so at
    most some six times ``batch_bytes`` are in memory, besides the senses of the range. If
    ``choice`` is adaptive, the price of a sense is looked up, or found first: the same for every
    range.

    Raises:
        ArtifactError: if the embeddings were made from another corpus.
        DataError: if a state is NaN or infinite; the message names the shard.
        CapacityError: if the device has no memory for a batch of 1 MiB.
    """
    _check_made_from(embeddings, "corpus", corpus)
    prices = _prices(store, config, embeddings)
    work = Work(
        "senses-shard",
        _content_settings(config, without="context_tokens") | {"tokens": [shard.start, shard.stop]},
        {"embeddings": embeddings.fingerprint, "corpus": corpus.fingerprint} | _inputs(prices),
        version=2,
    )
    if found := store.find(work):
        return found
    reader = load_embeddings(embeddings, store)
    price = price_of(prices[0]) if prices else None
    with store.publish(work) as draft:
        fitted = until_it_fits(
            lambda size: _cluster(
                *(reader, config.model_copy(update={"batch_bytes": size}), shard, price, progress)
            ),
            config.batch_bytes,
            smallest=_MIN_BATCH_BYTES,
            setting="senses.batch_bytes",
            cure="embeddings.max_occurrences or senses.n_restarts",
        )
        senses, examples = fitted.value
        group = draft.write_group(GROUP)
        centroids = np.concatenate([s.centroids for s in senses])
        put_array(group, "centroids", centroids)
        _put_index(
            group,
            tokens=reader.tokens[shard.start : shard.stop],
            n_senses=np.array([len(s.counts) for s in senses]),
            counts=np.concatenate([s.counts for s in senses]),
            n_occurrences=reader.n_rows[shard.start : shard.stop],
            inertia=np.array([s.inertia for s in senses]),
        )
        draft.write_table(EXAMPLES, pa.concat_tables(examples).combine_chunks())
        n_rows = int(reader.n_rows[shard.start : shard.stop].sum())
        draft.counts |= {"tokens": len(senses), "senses": len(centroids), "embeddings": n_rows}
        draft.report["largest_value"] = float(np.abs(centroids).max(initial=0.0))
        draft.report |= fitted.report("batch_bytes")
    return store.get(work.stage, work.fingerprint)


def _cluster(
    reader: Embeddings, config: SensesConfig, shard: Shard, price: float | None, progress: Progress
) -> tuple[list[Clustering], list[pa.Table]]:
    """Return the senses of a range, and their examples piece by piece."""
    senses: list[Clustering] = []
    examples: list[pa.Table] = []
    n_done, n_total = 0, int(reader.n_rows[shard.start : shard.stop].sum())
    for rows in read_ahead(reader, shard, config.batch_bytes):
        found_here = cluster_rows(rows, config, shard, price)
        senses += found_here
        examples.append(nearest_examples(rows, found_here, config.n_examples))
        n_done += len(rows.states)
        progress(n_done, n_total, "embeddings", tokens=len(senses))
    return senses, examples


def collect_senses(
    store: ArtifactStore,
    config: SensesConfig,
    embeddings: Artifact,
    corpus: Artifact,
    teacher: Artifact,
    parts: Sequence[Artifact],
    *,
    progress: Progress = silent,
) -> Artifact:
    """Join the ranges into the sense inventory, and give every sense its text.

    The bytes do not depend on how the tokens were cut into ranges. Centroids pass through one
    16 MiB chunk at a time.

    Raises:
        ArtifactError: if the embeddings were made by another teacher or from another corpus, or
            if the parts do not cover the tokens of the embeddings exactly once.
    """
    _check_made_from(embeddings, "teacher", teacher)
    _check_made_from(embeddings, "corpus", corpus)
    inputs = {
        "embeddings": embeddings.fingerprint,
        "corpus": corpus.fingerprint,
        "teacher": teacher.fingerprint,
    }
    prices = _prices(store, config, embeddings)
    inputs |= _inputs(prices)
    work = Work("senses", _content_settings(config), inputs, version=2)
    if found := store.find(work):
        return found
    reader = load_embeddings(embeddings, store)
    groups = _in_token_order(parts, reader, embeddings)
    tokenizer = load_tokenizer(teacher.folder())
    with store.publish(work) as draft:
        group = draft.write_group(GROUP)
        group.attrs.update(
            {
                "key": reader.key,
                "hidden_size": reader.hidden_size,
                "teacher": teacher.fingerprint,
                "tokenizer": tokenizer.fingerprint,
                "n_vocabulary": tokenizer.n_tokens,
            }
        )
        largest = max(part.record.report["largest_value"] for part in parts)
        _join(draft, group, groups, np.float16 if largest <= _FLOAT16_MAX else np.float32)
        draft.report["largest_value"] = largest
        table = pa.concat_tables([part.table(EXAMPLES) for part in parts]).sort_by(
            [("token_id", "ascending"), ("sense", "ascending"), ("rank", "ascending")]
        )
        draft.counts["examples"] = len(table)
        write_examples(
            draft.path(EXAMPLES),
            table,
            windows=load_windows(corpus),
            document_ids=corpus.table("documents.parquet")["document_id"],
            tokenizer=tokenizer,
            key=reader.key,
            context_tokens=config.context_tokens,
            progress=progress,
        )
        for price in prices:
            names = ("price", "budget_bytes", "budget_senses", "fixed_senses")
            draft.report |= {name: price.record.report[name] for name in names}
    return store.get(work.stage, work.fingerprint)


def _join(
    draft: Draft, group: zarr.Group, parts: Sequence[zarr.Group], dtype: type[np.floating]
) -> None:
    """Write the arrays of all parts end to end, and count what they hold."""
    columns = {
        name: np.concatenate([get_array(part, name) for part in parts])
        for name in ("tokens", "counts", "n_occurrences", "inertia")
    }
    n_senses = np.concatenate([np.diff(get_array(part, "offsets")) for part in parts])
    _put_index(group, n_senses=n_senses, **columns)
    shape = (int(n_senses.sum()), int(group.attrs["hidden_size"]))
    _put_centroids(group, parts, shape, np.dtype(dtype))
    draft.counts |= {
        "tokens": len(n_senses),
        "senses": shape[0],
        "embeddings": int(columns["n_occurrences"].sum()),
        "tokens_that_keep_their_rows": int((columns["n_occurrences"] == n_senses).sum()),
    }
    draft.report |= {
        "dtype": np.dtype(dtype).name,
        "inertia": float(columns["inertia"].sum(dtype=np.float64)),
    }


def load_senses(artifact: Artifact) -> SenseInventory:
    """Read a sense inventory into memory: ``n * d`` values of 16 bits, and little else."""
    group = artifact.group(GROUP)
    arrays = {
        name: get_array(group, name)
        for name in ("tokens", "offsets", "centroids", "counts", "n_occurrences", "inertia")
    }
    return SenseInventory(**arrays, key=str(group.attrs["key"]))


def _content_settings(config: SensesConfig, without: str = "") -> dict[str, object]:
    """Settings that change the senses; where and how much at a time does not."""
    unused = _ADAPTIVE if config.choice == "fixed" else set()
    return config.model_dump(mode="json", exclude=_NOT_CONTENT | unused | {without})


def _prices(store: ArtifactStore, config: SensesConfig, embeddings: Artifact) -> list[Artifact]:
    """Return the price of a sense, or nothing where k is fixed."""
    return [] if config.choice == "fixed" else [build_price(store, config, embeddings)]


def _inputs(prices: list[Artifact]) -> dict[str, str]:
    return {price.record.stage: price.fingerprint for price in prices}


def _check_made_from(embeddings: Artifact, kind: str, wanted: Artifact) -> None:
    made_from = embeddings.record.inputs.get(kind)
    if made_from != wanted.fingerprint:
        raise ArtifactError(
            f"The embeddings {embeddings.fingerprint} were made from the {kind} {made_from}, not "
            f"{wanted.fingerprint}; give that {kind}, or extract the embeddings again."
        )


def _in_token_order(
    parts: Sequence[Artifact], reader: Embeddings, embeddings: Artifact
) -> list[zarr.Group]:
    for part in parts:
        if part.record.inputs["embeddings"] != embeddings.fingerprint:
            raise ArtifactError(
                f"The senses shard {part.uri} was made from the embeddings "
                f"{part.record.inputs['embeddings']}, not {embeddings.fingerprint}; "
                "cluster that range again."
            )
    filled = [part for part in parts if part.record.counts["tokens"]]
    groups = sorted((part.group(GROUP) for part in filled), key=lambda g: int(g["tokens"][0]))
    tokens = [get_array(g, "tokens") for g in groups]
    if not tokens or not np.array_equal(np.concatenate(tokens), reader.tokens):
        raise ArtifactError(
            f"The {len(parts)} senses shards hold {sum(map(len, tokens))} tokens and the "
            f"embeddings {len(reader.tokens)}; cluster every range of plan_ranges exactly once."
        )
    return groups


def _put_index(
    group: zarr.Group,
    *,
    tokens: np.ndarray,
    n_senses: np.ndarray,
    counts: np.ndarray,
    n_occurrences: np.ndarray,
    inertia: np.ndarray,
) -> None:
    put_array(group, "tokens", tokens.astype(np.int32))
    put_array(group, "offsets", np.concatenate(([0], np.cumsum(n_senses))).astype(np.int64))
    put_array(group, "counts", counts.astype(np.int32))
    put_array(group, "n_occurrences", n_occurrences.astype(np.int32))
    put_array(group, "inertia", inertia.astype(np.float32))


def _put_centroids(
    group: zarr.Group, parts: Sequence[zarr.Group], shape: tuple[int, int], dtype: np.dtype
) -> None:
    """Write the centroids of all parts, whole chunks at a time: none is read back."""
    chunk = max(1, min(shape[0], _CHUNK_BYTES // (shape[1] * dtype.itemsize)))
    array = new_array(group, "centroids", shape, dtype, chunk_rows=chunk)
    waiting, n_written = np.empty((0, shape[1]), dtype), 0
    for part in parts:
        source = part["centroids"]
        for start in range(0, source.shape[0], chunk):
            block = np.asarray(source[start : start + chunk]).astype(dtype)
            waiting = np.concatenate([waiting, block])
            if len(waiting) >= chunk:
                array[n_written : n_written + chunk] = waiting[:chunk]
                waiting, n_written = waiting[chunk:], n_written + chunk
    if len(waiting):
        array[n_written:] = waiting
