"""The candidates of every captured position, for one dictionary; the teacher does not run.

A ``candidates`` artifact has one group a shard of the activations (``part-00000.zarr``), its
windows and positions in the same order:

    windows    [w]         int32  window numbers of the corpus
    offsets    [w + 1]     int64  positions of window i are offsets[i]:offsets[i + 1]
    positives  [P, kappa]  int32  rows of the dictionary nearest to m_t, -1 where there are fewer
    negatives  [P, kappa]  int32  likewise among the antonyms' senses
    synonyms   [P, kappa]  int32  at positions with negatives, likewise among the synonyms' senses
                                  alone (own ones where there are none); only where the setting
                                  ``with_synonyms`` is true, since a recipe ranks them

Its record has the quantiles of MSE(m_t, a) over all such negatives, to calibrate the margin.
"""

import numpy as np
import torch
import zarr
from numpy.typing import NDArray

from dskd_core.config import TrainingConfig
from dskd_core.config.recipes import Relations
from dskd_core.decoder.precision import memory_bytes
from dskd_core.decoder.states import decode_states
from dskd_core.decoder.tokenizer import check_same_tokenizer
from dskd_core.dictionary.store import Dictionary, load_dictionary
from dskd_core.errors import ArtifactError, CapacityError
from dskd_core.progress import Progress, silent
from dskd_core.store.arrays import get_array, put_array
from dskd_core.store.artifacts import Artifact, ArtifactStore, Work
from dskd_core.training.activations.layout import SHARD
from dskd_core.training.candidates.controls import controlled
from dskd_core.training.candidates.nearest import for_ranking, nearest_rows
from dskd_core.training.student.shape import STAGE as UNTRAINED

_CHUNK_BYTES = 1 << 20
_ROW_BYTES = 4
_QUANTILES = np.linspace(0.0, 1.0, 101)
"""At which a record has MSE(m_t, a) over all kappa nearest negatives."""


def select_candidates(
    store: ArtifactStore,
    config: TrainingConfig,
    activations: Artifact,
    dictionary: Artifact,
    *,
    relations: Relations = "dictionary",
    progress: Progress = silent,
) -> Artifact:
    """Find P^kappa and A^kappa of every captured position (Eq. 4).

    Raises:
        ArtifactError: if the dictionary was made with another teacher or tokenizer.
        CapacityError: if the dictionary has fewer rows than are asked for of every position, or
            the machine no memory for them.
    """
    untrained = store.get(UNTRAINED, activations.record.inputs[UNTRAINED])
    check_same_teacher(store, untrained, dictionary)
    work = Work(
        "candidates",
        {"n_candidates": config.n_candidates, "relations": relations}
        | ({"with_synonyms": True} if config.ranks_synonyms else {}),
        {"activations": activations.fingerprint, "dictionary": dictionary.fingerprint},
    )
    if found := store.find(work):
        return found
    with store.publish(work) as draft:
        loaded = controlled(load_dictionary(dictionary), relations)
        shards = store.shards_of(activations)
        n_lists = 3 if config.ranks_synonyms else 2
        check_candidates(config.n_candidates, len(loaded.rows), activations, n_lists=n_lists)
        ranked = for_ranking(loaded) if config.ranks_synonyms else None
        by_shard = []
        for number, shard in enumerate(shards):
            group, captured = draft.write_group(group_name(number)), shard.group(SHARD)
            by_shard.append(_write_nearest(captured, group, loaded, ranked, config.n_candidates))
            progress(number + 1, len(shards), "shards")
        antonym_mse = np.concatenate(by_shard)
        draft.counts |= {
            "positions": activations.record.counts["positions"],
            "negatives": len(antonym_mse),
        }
        draft.report |= {
            "antonym_mse_quantiles": np.quantile(antonym_mse, _QUANTILES).round(6).tolist()
            if len(antonym_mse)
            else [0.0] * len(_QUANTILES),
            "teacher_active_share_at_margin_1": float((antonym_mse < 1.0).mean())
            if len(antonym_mse)
            else 0.0,
        }
    return store.get(work.stage, work.fingerprint)


def check_candidates(
    n_candidates: int, n_rows: int, activations: Artifact, *, n_lists: int = 2
) -> None:
    """Check that kappa is no more than the rows there are, and that all candidates fit in memory.

    Candidates take 4 kappa bytes a list of each position of the activations.

    Raises:
        CapacityError: if not.
    """
    if n_candidates > n_rows:
        raise CapacityError(
            f"training.n_candidates {n_candidates:,} is more than the {n_rows:,} rows of the whole "
            "dictionary; lower it."
        )
    needed = _ROW_BYTES * n_lists * n_candidates * activations.record.counts["positions"]
    if needed > (there := memory_bytes(torch.device("cpu"))):
        raise CapacityError(
            f"training.n_candidates {n_candidates:,} takes {needed / 2**30:.1f} GiB for "
            f"{activations.record.counts['positions']:,} positions, more than the "
            f"{there / 2**30:.1f} GiB of this machine; lower it, or training.max_train_tokens."
        )


def group_name(number: int) -> str:
    """Return the group that belongs to a shard of the activations."""
    return f"part-{number:05d}.zarr"


def check_same_teacher(store: ArtifactStore, untrained: Artifact, dictionary: Artifact) -> None:
    """Refuse a dictionary whose tokens, or senses, are not those of the student's teacher.

    Where the senses' own record did not travel with the dictionary, the tokenizer alone is
    compared.

    Raises:
        ArtifactError: naming both.
    """
    start, teacher = untrained.record.report, untrained.record.inputs["teacher"]
    theirs = dictionary.record.report["tokenizer"]
    check_same_tokenizer(dictionary, theirs, untrained, start["tokenizer"])
    teachers = {a.fingerprint: a.record.inputs["teacher"] for a in store.of_stage("senses")}
    made_with = teachers.get(dictionary.record.inputs["senses"], teacher)
    if made_with != teacher:
        sources = {a.fingerprint: a.record.report["source"] for a in store.of_stage("teacher")}
        raise ArtifactError(
            f"The dictionary {dictionary.fingerprint} was made with teacher "
            f"{sources.get(made_with, 'elsewhere')} ({made_with}), not with {start['source']} "
            f"({teacher}); build a dictionary for this teacher."
        )


def _write_nearest(
    shard: zarr.Group,
    group: zarr.Group,
    dictionary: Dictionary,
    ranked: Dictionary | None,
    n_candidates: int,
) -> NDArray[np.float32]:
    """Write the candidates of one shard; return the finite MSE(m_t, a)."""
    for name in ("windows", "offsets"):
        put_array(group, name, get_array(shard, name))
    states = decode_states(get_array(shard, "teacher_states"), str(shard.attrs["dtype"]))
    labels = get_array(shard, "labels")
    near = nearest_rows(states, labels, dictionary, n_candidates=n_candidates)
    put_array(group, "positives", near.positives, chunk_bytes=_CHUNK_BYTES)
    put_array(group, "negatives", near.negatives, chunk_bytes=_CHUNK_BYTES)
    if ranked is not None:
        synonyms = nearest_rows(states, labels, ranked, n_candidates=n_candidates).positives
        put_array(group, "synonyms", synonyms, chunk_bytes=_CHUNK_BYTES)
    return near.antonym_mse[np.isfinite(near.antonym_mse)]


def calibrated_margin(candidates: Artifact, quantile: float) -> float:
    """Return a quantile of MSE(m_t, a) over all positions and their kappa nearest negatives."""
    stored = candidates.record.report["antonym_mse_quantiles"]
    return float(np.interp(quantile, _QUANTILES, stored))


def margin_sentence(candidates: Artifact, config: TrainingConfig) -> str:
    """Say how far the teacher's states are from antonyms' senses, and what margins make of it."""
    report = candidates.record.report
    if not candidates.record.counts["negatives"]:
        return "No position has negatives: the margin has nothing to push."
    low, middle, high = (calibrated_margin(candidates, q) for q in (0.05, 0.5, 0.95))
    chosen = calibrated_margin(candidates, config.margin_quantile)
    return (
        f"MSE(m_t, antonym senses) is {middle:.3g} in the median (5 % below {low:.3g}, 5 % above "
        f"{high:.3g}): at the paper's margin 1 the teacher's own states have "
        f"{report['teacher_active_share_at_margin_1']:.1%} of them inside, at the calibrated "
        f"{chosen:.3g} {config.margin_quantile:.0%}; training.margin is {config.margin}."
    )
