"""The candidates of every captured position, for one dictionary; the teacher does not run.

A ``candidates`` artifact has one group a part of the activations (``part-00000.zarr``), its
windows and positions in the same order:

    windows    [w]         int32  window numbers of the corpus
    offsets    [w + 1]     int64  positions of window i are offsets[i]:offsets[i + 1]
    positives  [P, kappa]  int32  rows of the dictionary nearest to m_t, -1 where there are fewer
    negatives  [P, kappa]  int32  likewise among the antonyms' senses

Its record has the quantiles of MSE(m_t, a) over all such negatives, to calibrate the margin.
"""

from typing import Literal, Protocol

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from torch import Tensor

from dskd_core.config import Arm, TrainingConfig
from dskd_core.decoder.states import decode_states
from dskd_core.dictionary.store import Dictionary, load_dictionary
from dskd_core.errors import ArtifactError
from dskd_core.progress import Progress, silent
from dskd_core.store.arrays import get_array, put_array
from dskd_core.store.artifacts import Artifact, ArtifactStore, Work
from dskd_core.training.activations.capture import WindowActivations
from dskd_core.training.activations.layout import PART
from dskd_core.training.candidates.nearest import nearest_rows, own_senses_only, shuffled_relations
from dskd_core.training.student.shape import STAGE as UNTRAINED

Relations = Literal["dictionary", "own", "shuffled"]

_QUANTILES = np.linspace(0.0, 1.0, 101)
_CHUNK_BYTES = 1 << 20
_SHUFFLE_SEED = 0


def relations_of(arm: Arm) -> Relations:
    """Return whose relations an arm is trained with."""
    controls: dict[str, Relations] = {"dskd_own": "own", "dskd_shuffled": "shuffled"}
    return controls.get(arm, "dictionary")


def controlled(dictionary: Dictionary, relations: Relations) -> Dictionary:
    """Return the dictionary as it is, without relations, or with shuffled ones."""
    if relations == "own":
        return own_senses_only(dictionary)
    if relations == "shuffled":
        return shuffled_relations(dictionary, seed=_SHUFFLE_SEED)
    return dictionary


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
    """
    untrained = store.get(UNTRAINED, activations.record.inputs[UNTRAINED])
    check_same_teacher(store, untrained, dictionary)
    work = Work(
        "candidates",
        {"n_candidates": config.n_candidates, "relations": relations},
        {"activations": activations.fingerprint, "dictionary": dictionary.fingerprint},
    )
    if found := store.find(work):
        return found
    with store.publish(work) as draft:
        loaded = controlled(load_dictionary(dictionary), relations)
        names = activations.record.report["parts"]
        push = []
        for number, name in enumerate(names):
            part = store.get("activations-shard", name).group(PART)
            group = draft.write_group(part_name(number))
            push.append(_select(part, group, loaded, config.n_candidates))
            progress(number + 1, len(names), "parts")
        pushes = np.concatenate(push)
        draft.counts |= {
            "positions": activations.record.counts["positions"],
            "negatives": len(pushes),
        }
        draft.report |= {
            "antonym_mse_quantiles": np.quantile(pushes, _QUANTILES).round(6).tolist()
            if len(pushes)
            else [0.0] * len(_QUANTILES),
            "teacher_active_share_at_margin_1": float((pushes < 1.0).mean())
            if len(pushes)
            else 0.0,
        }
    return store.get(work.stage, work.fingerprint)


def part_name(number: int) -> str:
    """Return the group that belongs to a part of the activations."""
    return f"part-{number:05d}.zarr"


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


class Selector(Protocol):
    """Where a run gets candidates from: the store, or the dictionary and the teacher's state."""

    def read(self, window: WindowActivations, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return positives and negatives, [n, kappa] int64 each, of positions of a window."""


class Selected:
    """The candidates of an artifact, in memory (8 kappa bytes a position)."""

    def __init__(self, artifact: Artifact, n_parts: int) -> None:
        groups = [artifact.group(part_name(number)) for number in range(n_parts)]
        self._rows = {
            name: [get_array(group, name) for group in groups]
            for name in ("positives", "negatives")
        }
        self._places = {
            int(window): (part, slice(int(start), int(stop)))
            for part, group in enumerate(groups)
            for window, start, stop in _spans(group)
        }

    def read(self, window: WindowActivations, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return positives and negatives, [n, kappa] int64 each, of positions of a window."""
        part, rows = self._places[window.window]
        positives, negatives = (
            torch.from_numpy(self._rows[name][part][rows].astype(np.int64))[positions]
            for name in ("positives", "negatives")
        )
        return positives, negatives


class Selecting:
    """The candidates found when they are asked for, from the teacher's states."""

    def __init__(self, dictionary: Dictionary, n_candidates: int) -> None:
        self._dictionary, self._n_candidates = dictionary, n_candidates

    def read(self, window: WindowActivations, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return positives and negatives, [n, kappa] int64 each, of positions of a window."""
        near = nearest_rows(
            window.states[positions.to(window.states.device)].float().cpu().numpy(),
            window.labels[positions].numpy(),
            self._dictionary,
            n_candidates=self._n_candidates,
        )
        return torch.from_numpy(near.positives).long(), torch.from_numpy(near.negatives).long()


def check_same_teacher(store: ArtifactStore, untrained: Artifact, dictionary: Artifact) -> None:
    """Refuse a dictionary whose tokens, or senses, are not those of the student's teacher.

    Where the senses' own record did not travel with the dictionary, the tokenizer alone is
    compared.

    Raises:
        ArtifactError: naming both.
    """
    start, teacher = untrained.record.report, untrained.record.inputs["teacher"]
    tokenizer = dictionary.record.report["tokenizer"]
    if tokenizer != start["tokenizer"]:
        raise ArtifactError(
            f"The dictionary {dictionary.fingerprint} was made with tokenizer {tokenizer}, but the "
            f"teacher {start['source']} ({teacher}) has {start['tokenizer']}; "
            "build a dictionary for this teacher."
        )
    teachers = {a.fingerprint: a.record.inputs["teacher"] for a in store.of_stage("senses")}
    made_with = teachers.get(dictionary.record.inputs["senses"], teacher)
    if made_with != teacher:
        sources = {a.fingerprint: a.record.report["source"] for a in store.of_stage("teacher")}
        raise ArtifactError(
            f"The dictionary {dictionary.fingerprint} was made with teacher "
            f"{sources.get(made_with, 'elsewhere')} ({made_with}), not with {start['source']} "
            f"({teacher}); build a dictionary for this teacher."
        )


def _select(
    part: zarr.Group, group: zarr.Group, dictionary: Dictionary, n_candidates: int
) -> NDArray[np.float32]:
    """Write the candidates of one part; return the finite MSE(m_t, a)."""
    for name in ("windows", "offsets"):
        put_array(group, name, get_array(part, name))
    near = nearest_rows(
        decode_states(get_array(part, "states"), str(part.attrs["dtype"])),
        get_array(part, "labels"),
        dictionary,
        n_candidates=n_candidates,
    )
    put_array(group, "positives", near.positives, chunk_bytes=_CHUNK_BYTES)
    put_array(group, "negatives", near.negatives, chunk_bytes=_CHUNK_BYTES)
    return near.push[np.isfinite(near.push)]


def _spans(group: zarr.Group) -> zip:  # type: ignore[type-arg]
    offsets = get_array(group, "offsets")
    return zip(get_array(group, "windows"), offsets[:-1], offsets[1:], strict=True)
