"""Embeddings on disk: shards with rows sorted by token, and an index over all of them (layout.py).

What a shard stores was decided position by position from the limits of the census (census.py),
before any shard was there. Nothing is rewritten when shards are joined, and the sample, which
readers.py reads, does not depend on how they were cut.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dskd_core.config import EmbeddingsConfig, TeacherConfig
from dskd_core.corpus.store import Windows, load_windows
from dskd_core.decoder.decoder import load_teacher, on_device
from dskd_core.decoder.fitting import in_batches_that_fit
from dskd_core.decoder.precision import processor_of
from dskd_core.decoder.states import encode_rows
from dskd_core.decoder.tokenizer import check_same_tokenizer, load_tokenizer
from dskd_core.embeddings.census import Census, take_census
from dskd_core.embeddings.extraction import Occurrences, extract, training_batches
from dskd_core.embeddings.layout import INDEX, SHARD, all_hashes, all_met, write_shard
from dskd_core.embeddings.sampling import hash_limits, smallest_per_token
from dskd_core.progress import Progress, silent
from dskd_core.shards import Shard, cut
from dskd_core.store.arrays import put_array
from dskd_core.store.artifacts import Artifact, ArtifactStore, Draft, Work


def plan_shards(corpus: Artifact, config: EmbeddingsConfig) -> list[Shard]:
    """Cut the batches of the windows with something to keep into shards of ``shard_tokens``."""
    _, census = _census(corpus.uri, _sample_settings(config))
    batches = training_batches(census, config)
    return cut([int(census.lengths[batch].sum()) for batch in batches], config.shard_tokens)


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
    """Run the teacher over the batches of a shard and keep what the census admits.

    Shards know nothing of one another, so any process may make any of them. The device is held
    while the shard is computed. It is sorted, written and published without, so that another thread
    computes the next one meanwhile. Where the device runs out of memory the shard begins again with
    batches half as large; its record says how large they were.

    Memory: the states that are kept, at most ``shard_tokens * d`` values of 16 bits, and a second
    copy of them while they are sorted, of each shard that is under way; the windows and the census
    (12 bytes a token) besides.

    Raises:
        ArtifactError: if the corpus was made with another tokenizer than the teacher's.
        DataError: if the teacher gives NaN, or a value that float16 cannot hold.
        CapacityError: if the device has no memory for one window.
    """
    work = Work(
        "embeddings-shard",
        _content_settings(config) | {"batches": [shard.start, shard.stop]},
        _inputs(teacher, corpus),
    )
    if found := store.find(work):
        return found
    tokenizer = load_tokenizer(teacher.folder())
    theirs = corpus.record.inputs["tokenizer"]
    check_same_tokenizer(corpus, theirs, teacher, tokenizer.fingerprint)
    with on_device() as let_go, store.publish(work) as draft:
        windows, census = _census(corpus.uri, _sample_settings(config))
        model = load_teacher(teacher, teacher_config)
        draft.computed(model.precision, processor_of(model.device))
        batches = training_batches(census, config)[shard.start : shard.stop]
        special = tokenizer.special_ids
        (states, occurrences, met), fit = in_batches_that_fit(
            lambda fine: extract(
                model, windows, census, fine, config, special, progress, shard.name
            ),
            batches,
            census.lengths,
            setting="embeddings.batch_tokens",
            cure="corpus.window_tokens",
        )
        let_go()
        n_rows = _write_rows(draft, config, shard, states, occurrences, met)
        draft.counts |= {
            "windows": sum(map(len, batches)),
            "positions": sum(int(census.lengths[batch].sum()) for batch in batches),
            "occurrences": int(met.sum()),
            "rows": n_rows,
        }
        draft.report |= fit
    return store.get(work.stage, work.fingerprint)


def _write_rows(
    draft: Draft,
    config: EmbeddingsConfig,
    shard: Shard,
    states: Tensor,
    occurrences: Occurrences,
    met: NDArray[np.int64],
) -> int:
    """Write a shard's states by token and hash, at most the cap of a token; return how many."""
    kept = smallest_per_token(occurrences.tokens, occurrences.hashes, config.max_occurrences)
    bits, scales = encode_rows(states[torch.from_numpy(kept)], config.state_dtype, shard.name)
    group = draft.write_group(SHARD)
    write_shard(group, bits, occurrences[kept], met, config.state_dtype, scales)
    return len(kept)


def collect_embeddings(
    store: ArtifactStore,
    config: EmbeddingsConfig,
    teacher: Artifact,
    corpus: Artifact,
    shards: Sequence[Artifact],
) -> Artifact:
    """Index all shards: which tokens have embeddings, how many, and the cap over all shards.

    The record counts what the sample cost and what it lacks: ``missing_rows`` are rows that a
    token of ``short_tokens`` would have under a higher limit (census.py says when; never for the
    keys next and input).
    """
    work = Work("embeddings", _content_settings(config), _inputs(teacher, corpus))
    if found := store.find(work):
        return found
    with store.publish(work) as draft:
        draft.computed_as(shards)
        tokens, hashes = all_hashes(shards)
        unique, n_rows, limits = hash_limits(tokens, hashes, config.max_occurrences)
        windows, census = _census(corpus.uri, _sample_settings(config))
        n_met = all_met(shards)
        n_occurrences = (census.counts if census.exact else n_met)[unique]
        group = draft.write_group(INDEX)
        put_array(group, "tokens", unique)
        put_array(group, "n_rows", n_rows)
        put_array(group, "n_occurrences", n_occurrences)
        put_array(group, "limits", limits)
        states = shards[0].group(SHARD)["states"]
        group.attrs.update(
            {"hidden_size": states.shape[1], "dtype": config.state_dtype, "key": config.key}
        )
        missing = np.minimum(n_met, config.max_occurrences)
        missing[unique] -= n_rows
        run, training = census.lengths > 0, ~windows.heldout
        draft.counts |= {
            "parts": len(shards),
            "tokens": len(unique),
            "rows": int(n_rows.sum()),
            "stored_rows": len(tokens),
            "capped_tokens": int((n_rows == config.max_occurrences).sum()),
            "short_tokens": int((missing > 0).sum()),
            "missing_rows": int(missing.clip(0).sum()),
            "occurrences": int(n_occurrences.sum()),
            "windows": int(run.sum()),
            "skipped_windows": int((training & ~run).sum()),
            "positions": int(census.lengths.sum()),
            "skipped_positions": int((windows.lengths - census.lengths)[training].sum()),
        }
        draft.report["parts"] = [shard.fingerprint for shard in shards]
    return store.get(work.stage, work.fingerprint)


def _inputs(teacher: Artifact, corpus: Artifact) -> dict[str, str]:
    return {"teacher": teacher.fingerprint, "corpus": corpus.fingerprint}


@lru_cache(maxsize=1)
def _census(corpus_uri: str, settings: EmbeddingsConfig) -> tuple[Windows, Census]:
    """Return a corpus' windows and census, kept for the next shard of this process."""
    windows = load_windows(ArtifactStore.open(corpus_uri))
    return windows, take_census(windows, settings)


def _sample_settings(config: EmbeddingsConfig) -> EmbeddingsConfig:
    """Settings that change the census, the others at their defaults."""
    names = {"key", "max_occurrences", "safety", "seed"}
    return EmbeddingsConfig.model_validate(config.model_dump(include=names))


def _content_settings(config: EmbeddingsConfig) -> dict[str, object]:
    """Settings that change the sample; how it is cut into shards does not."""
    exact = set() if config.key == "predicted" else {"safety"}
    return config.model_dump(mode="json", exclude={"shard_tokens"} | exact)
