"""The price of a sense: found once from a sample of tokens, and kept for every range.

A ``sense-price`` artifact has one file, ``price.json``: the price, the budget it stands for in
bytes and in senses, what the budget would be under fixed k, and how many tokens were sampled.
"""

import numpy as np

from dskd_core.config import SensesConfig
from dskd_core.decoder.precision import processor_on, resolved_senses
from dskd_core.embeddings.readers import Embeddings, load_embeddings
from dskd_core.errors import ConfigError
from dskd_core.senses.adaptive import find_price, inertia_curves
from dskd_core.senses.batching import check_memory, read_ahead
from dskd_core.shards import Shard
from dskd_core.store.artifacts import Artifact, ArtifactStore, Work

_FILE = "price.json"
_N_RUNS = 16
_VALUE_BYTES = 2


def _content_settings(config: SensesConfig) -> dict[str, object]:
    """Settings that change the price."""
    names = {"n_senses", "backend", "n_restarts", "max_iterations", "coarse_dtype", "seed"}
    return config.model_dump(mode="json", include=names | {"max_senses", "max_bytes", "n_sampled"})


def build_price(store: ArtifactStore, config: SensesConfig, embeddings: Artifact) -> Artifact:
    """Find the price at which the senses of all tokens take at most the budget.

    The curves of ``n_sampled`` tokens decide, in 16 runs of neighbours, so that little more than
    their own rows is read from the shards; an inventory with no more tokens is its own sample. Two
    standard errors of the sample are kept free, so the senses seldom take more than the budget;
    what they take is in the record of the senses.

    Raises:
        ConfigError: if the budget does not hold one sense for every token.
        CapacityError: if the device has no memory for all restarts of one token.
    """
    config, inputs = resolved_senses(config), {"embeddings": embeddings.fingerprint}
    work = Work("sense-price", _content_settings(config), inputs, version=3)
    if found := store.find(work):
        return found
    reader = load_embeddings(embeddings, store)
    check_memory(config, reader)
    row_bytes = _VALUE_BYTES * reader.hidden_size
    n_fixed = int(np.minimum(reader.n_rows, config.n_senses).sum())
    budget_bytes = config.max_bytes or n_fixed * row_bytes
    n_allowed = budget_bytes // row_bytes
    if n_allowed < len(reader.tokens):
        raise ConfigError(
            f"max_bytes {budget_bytes:,} holds {n_allowed:,} senses of {row_bytes:,} bytes for "
            f"{len(reader.tokens):,} tokens; raise it to at least "
            f"{len(reader.tokens) * row_bytes:,}."
        )
    with store.publish(work) as draft:
        draft.computed(config.coarse_dtype, processor_on(config.device))
        runs = _runs(len(reader.tokens), config.n_sampled)
        curves = np.concatenate([_curves(reader, config, *run) for run in runs])
        members = np.concatenate([np.arange(*run) for run in runs])
        price = find_price(
            curves,
            np.minimum(reader.n_rows[members], config.n_senses),
            np.repeat(np.arange(len(runs)), [stop - start for start, stop in runs]),
            share=n_allowed / n_fixed,
            sampled=len(members) / len(reader.tokens),
        )
        draft.counts |= {"tokens": len(reader.tokens), "sampled_tokens": len(members)}
        said = {
            "price": price,
            "budget_bytes": budget_bytes,
            "budget_senses": n_allowed,
            "fixed_senses": n_fixed,
        }
        draft.write_json(_FILE, said)
        draft.report |= said
    return store.get(work.stage, work.fingerprint)


def price_of(artifact: Artifact) -> float:
    """Return the price of a ``sense-price`` artifact."""
    return float(artifact.record.report["price"])


def _runs(n_tokens: int, n_sampled: int) -> list[tuple[int, int]]:
    """Return runs of token slots, evenly spread, ``n_sampled`` in all; everything if that is less.

    >>> _runs(100, 32)[:3], _runs(20, 32)
    ([(2, 4), (8, 10), (14, 16)], [(0, 20)])
    """
    if n_tokens <= n_sampled:
        return [(0, n_tokens)]
    length = max(1, n_sampled // _N_RUNS)
    n_runs = n_sampled // length
    starts = [(2 * i + 1) * n_tokens // (2 * n_runs) - length // 2 for i in range(n_runs)]
    return [(start, start + length) for start in starts]


def _curves(reader: Embeddings, config: SensesConfig, start: int, stop: int) -> np.ndarray:
    """Return the inertia curves of a run, float64 [t, max_senses], in pieces of ``batch_bytes``."""
    pieces = read_ahead(reader, Shard(0, 1, start, stop), config.batch_bytes)
    curves = [
        inertia_curves(np.split(rows.states, rows.offsets[1:-1]), rows.tokens.tolist(), config)
        for rows in pieces
    ]
    return np.concatenate(curves)
