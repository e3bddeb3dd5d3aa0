"""Senses on disk: ranges of tokens are clustered, joined, and shown in text.

A ``senses-shard`` (one range of tokens) and the whole, ``senses``, hold ``senses.zarr``, the
inventory (inventory.py), and ``examples.parquet``, the occurrences nearest to each centroid
(examples.py), of which only the whole has the text.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import zarr

from dskd_core.config import SensesConfig
from dskd_core.corpus.store import load_windows
from dskd_core.decoder.fitting import until_it_fits
from dskd_core.decoder.precision import processor_on, resolved_senses
from dskd_core.decoder.tokenizer import Tokenizer, load_tokenizer
from dskd_core.embeddings.readers import Embeddings, load_embeddings
from dskd_core.errors import ArtifactError
from dskd_core.progress import Progress, silent
from dskd_core.senses.batching import check_memory, cluster_rows, read_ahead
from dskd_core.senses.budget import build_price, price_of
from dskd_core.senses.examples import nearest_examples, write_examples
from dskd_core.senses.inventory import GROUP, join_shards, write_shard
from dskd_core.senses.kmeans import Clustering
from dskd_core.shards import Shard, cut
from dskd_core.store.arrays import get_array
from dskd_core.store.artifacts import Artifact, ArtifactStore, Draft, Work

EXAMPLES = "examples.parquet"
_MIN_BATCH_BYTES = 1 << 20
_NOT_CONTENT = {"device", "batch_bytes", "shard_rows"}
_ADAPTIVE = {"choice", "max_senses", "max_bytes", "n_sampled"}


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
        CapacityError: if the device has no memory for a batch of 1 MiB, or for all restarts of the
            most frequent token.
    """
    _check_made_from(embeddings, "corpus", corpus)
    config = resolved_senses(config)
    prices = _prices(store, config, embeddings)
    work = Work(
        "senses-shard",
        _content_settings(config, without="context_tokens") | {"tokens": [shard.start, shard.stop]},
        {"embeddings": embeddings.fingerprint, "corpus": corpus.fingerprint} | _inputs(prices),
        version=3,
    )
    if found := store.find(work):
        return found
    reader = load_embeddings(embeddings, store)
    check_memory(config, reader)
    price = price_of(prices[0]) if prices else None
    with store.publish(work) as draft:
        draft.computed(config.coarse_dtype, processor_on(config.device))
        (senses, examples), fit = until_it_fits(
            lambda size: _cluster(
                reader, config.model_copy(update={"batch_bytes": size}), shard, price, progress
            ),
            config.batch_bytes,
            smallest=_MIN_BATCH_BYTES,
            name="batch_bytes",
            setting="senses.batch_bytes",
            cure="embeddings.max_occurrences or senses.n_restarts",
        )
        own = slice(shard.start, shard.stop)
        n_rows = reader.n_rows[own]
        centroids = write_shard(draft.write_group(GROUP), reader.tokens[own], n_rows, senses)
        draft.write_table(EXAMPLES, pa.concat_tables(examples).combine_chunks())
        draft.counts |= {
            "tokens": len(senses),
            "senses": len(centroids),
            "embeddings": int(n_rows.sum()),
        }
        draft.report["largest_value"] = float(np.abs(centroids).max(initial=0.0))
        draft.report |= fit
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
    shards: Sequence[Artifact],
    *,
    progress: Progress = silent,
) -> Artifact:
    """Join the ranges into the sense inventory, and give every sense its text.

    The bytes do not depend on how the tokens were cut into ranges. Centroids pass through one
    16 MiB chunk at a time.

    Raises:
        ArtifactError: if the embeddings were made by another teacher or from another corpus, or
            if the shards do not cover the tokens of the embeddings exactly once.
    """
    _check_made_from(embeddings, "teacher", teacher)
    _check_made_from(embeddings, "corpus", corpus)
    config = resolved_senses(config)
    prices = _prices(store, config, embeddings)
    inputs = {
        "embeddings": embeddings.fingerprint,
        "corpus": corpus.fingerprint,
        "teacher": teacher.fingerprint,
    }
    work = Work("senses", _content_settings(config), inputs | _inputs(prices), version=3)
    if found := store.find(work):
        return found
    reader = load_embeddings(embeddings, store)
    groups = _in_token_order(shards, reader, embeddings)
    tokenizer = load_tokenizer(teacher.folder())
    with store.publish(work) as draft:
        draft.computed_as(shards)
        join_shards(
            draft,
            groups,
            largest=max(shard.record.report["largest_value"] for shard in shards),
            attributes={
                "key": reader.key,
                "hidden_size": reader.hidden_size,
                "teacher": teacher.fingerprint,
                "tokenizer": tokenizer.fingerprint,
                "n_vocabulary": tokenizer.n_tokens,
            },
        )
        _join_examples(draft, shards, corpus, tokenizer, reader.key, config, progress)
        for price in prices:
            names = ("price", "budget_bytes", "budget_senses", "fixed_senses")
            draft.report |= {name: price.record.report[name] for name in names}
    return store.get(work.stage, work.fingerprint)


def _join_examples(
    draft: Draft,
    shards: Sequence[Artifact],
    corpus: Artifact,
    tokenizer: Tokenizer,
    key: str,
    config: SensesConfig,
    progress: Progress,
) -> None:
    """Write the examples of all shards by token, sense and rank, with their text."""
    table = pa.concat_tables([shard.table(EXAMPLES) for shard in shards]).sort_by(
        [("token_id", "ascending"), ("sense", "ascending"), ("rank", "ascending")]
    )
    draft.counts["examples"] = len(table)
    write_examples(
        draft.path(EXAMPLES),
        table,
        windows=load_windows(corpus),
        document_ids=corpus.table("documents.parquet")["document_id"],
        tokenizer=tokenizer,
        key=key,
        context_tokens=config.context_tokens,
        progress=progress,
    )


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
    shards: Sequence[Artifact], reader: Embeddings, embeddings: Artifact
) -> list[zarr.Group]:
    for shard in shards:
        if shard.record.inputs["embeddings"] != embeddings.fingerprint:
            raise ArtifactError(
                f"The senses shard {shard.uri} was made from the embeddings "
                f"{shard.record.inputs['embeddings']}, not {embeddings.fingerprint}; "
                "cluster that range again."
            )
    filled = [shard for shard in shards if shard.record.counts["tokens"]]
    groups = sorted((shard.group(GROUP) for shard in filled), key=lambda g: int(g["tokens"][0]))
    tokens = [get_array(g, "tokens") for g in groups]
    if not tokens or not np.array_equal(np.concatenate(tokens), reader.tokens):
        raise ArtifactError(
            f"The {len(shards)} senses shards hold {sum(map(len, tokens))} tokens and the "
            f"embeddings {len(reader.tokens)}; cluster every range of plan_ranges exactly once."
        )
    return groups
