"""What training needs of the teacher, computed once for all epochs, seeds, arms and weights.

A part (``part.zarr`` of an ``activations-shard`` artifact) holds whole windows. P positions with
the prefix, kappa candidates:

    windows    [w]         int32    window numbers of the corpus
    heldout    [w]         bool     kept for evaluation
    offsets    [w + 1]     int64    positions of window i are offsets[i]:offsets[i + 1]
    labels     [P]         int32    x_(t+1), -1 where there is none or it is not scored
    entering   [P, d]               h, the state that enters the first trainable layer
    states     [P, d]               m_t, the teacher's final state
    expected   [P, d]      float16  e_t = W^T softmax(W m_t / T), see head.py
    entropy    [P]         float32  of the teacher at T, in nats
    predicted  [P]         int32    argmax of the teacher
    positives  [P, kappa]  int32    rows of the dictionary nearest to m_t, -1 where there are fewer
    negatives  [P, kappa]  int32    likewise among the antonyms' senses
    push       [..]        float32  MSE(m_t, a) of every such negative, to calibrate the margin
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import zarr
from torch import Tensor

from dskd_core.arrays import get_array, put_array
from dskd_core.artifacts import Artifact, ArtifactStore, Work
from dskd_core.config import StudentConfig, TeacherConfig, TrainingConfig
from dskd_core.corpus.store import Windows, load_windows
from dskd_core.dictionary.store import load_dictionary
from dskd_core.embeddings.states import decode_states, encode_states
from dskd_core.embeddings.teacher import Teacher, device_lock, load_teacher
from dskd_core.errors import ArtifactError, CapacityError
from dskd_core.progress import Progress, silent
from dskd_core.shards import Shard, cut
from dskd_core.tokenizers import load_tokenizer
from dskd_core.training.capture import capture, captured_batches
from dskd_core.training.student import Shape

PART = "part.zarr"
_SHARD_TOKENS = 32768
_CHUNK_BYTES = 1 << 20
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_BY_POSITION = (
    "labels",
    "entering",
    "states",
    "expected",
    "entropy",
    "predicted",
    "positives",
    "negatives",
)


@dataclass(frozen=True)
class WindowActivations:
    """One window: arrays as in the module's docstring, states decoded to float32 tensors."""

    window: int
    labels: Tensor
    entering: Tensor
    states: Tensor
    expected: Tensor
    entropy: Tensor
    predicted: Tensor
    positives: Tensor
    negatives: Tensor


def capture_shards(corpus: Artifact, config: TrainingConfig) -> list[Shard]:
    """Cut the batches of the windows to train on and to score on into shards."""
    windows = load_windows(corpus)
    batches = captured_batches(windows, config)
    return cut([int(windows.lengths[batch].sum()) for batch in batches], _SHARD_TOKENS)


def capture_shard(
    store: ArtifactStore,
    config: TrainingConfig,
    student_config: StudentConfig,
    teacher_config: TeacherConfig,
    teacher: Artifact,
    corpus: Artifact,
    dictionary: Artifact,
    shard: Shard,
    *,
    progress: Progress = silent,
) -> Artifact:
    """Run the teacher once over the windows of a shard and keep what training needs.

    Raises:
        ArtifactError: if the dictionary was made with another teacher or tokenizer.
        CapacityError: if all activations together would exceed ``max_activation_bytes``.
    """
    check_same_teacher(store, teacher, dictionary)
    work = Work(
        "activations-shard",
        _content_settings(config, student_config) | {"batches": [shard.start, shard.stop]},
        _inputs(teacher, corpus, dictionary),
    )
    if found := store.find(work):
        return found
    windows = load_windows(corpus)
    with device_lock, store.publish(work) as draft:
        model = load_teacher(teacher, teacher_config)
        _check_capacity(windows, config, model)
        shape = Shape.of(student_config, len(model.layers))
        rows = load_dictionary(dictionary)
        batches = captured_batches(windows, config)[shard.start : shard.stop]
        captured: list[dict[str, Any]] = []
        n_total = sum(int(windows.lengths[batch].sum()) for batch in batches)
        n_done = 0
        for batch in batches:
            captured += capture(model, shape, windows, batch, rows, config)
            n_done += int(windows.lengths[batch].sum())
            progress(n_done, n_total, "tokens")
        n_positions = _write_part(draft.write_group(PART), captured, teacher_config.dtype)
        draft.counts |= {"windows": len(captured), "positions": n_positions}
    return store.get(work.stage, work.fingerprint)


def collect_activations(
    store: ArtifactStore,
    config: TrainingConfig,
    student_config: StudentConfig,
    teacher: Artifact,
    corpus: Artifact,
    dictionary: Artifact,
    parts: Sequence[Artifact],
) -> Artifact:
    """Join the shards, and report the scale of MSE(m_t, antonym senses) beside the margin."""
    work = Work(
        "activations",
        _content_settings(config, student_config),
        _inputs(teacher, corpus, dictionary),
    )
    if found := store.find(work):
        return found
    with store.publish(work) as draft:
        groups = [part.group(PART) for part in parts]
        push = np.concatenate([get_array(group, "push") for group in groups])
        heldout = np.concatenate([get_array(group, "heldout") for group in groups])
        draft.counts |= {
            "windows": len(heldout),
            "heldout_windows": int(heldout.sum()),
            "positions": sum(part.record.counts["positions"] for part in parts),
        }
        draft.report |= {
            "parts": [part.fingerprint for part in parts],
            "antonym_mse_quantiles": {
                str(q): round(float(np.quantile(push, q)), 4) if len(push) else 0.0
                for q in _QUANTILES
            },
            "teacher_active_share_at_margin_1": float((push < 1.0).mean()) if len(push) else 0.0,
        }
    return store.get(work.stage, work.fingerprint)


class Activations:
    """All captured windows; kept in memory once read, since every epoch comes back to them."""

    def __init__(self, artifact: Artifact, store: ArtifactStore) -> None:
        """Open the parts of an ``activations`` artifact.

        Raises:
            ArtifactError: if a part is gone.
        """
        self.artifact = artifact
        names = artifact.record.report["parts"]
        groups = [store.get("activations-shard", name).group(PART) for name in names]
        self._parts = [
            {key: get_array(group, key) for key in (*_BY_POSITION, "windows", "offsets", "heldout")}
            for group in groups
        ]
        self._dtypes = [str(group.attrs["dtype"]) for group in groups]
        places: list[tuple[int, int, int, bool]] = [
            (int(window), part, index, bool(arrays["heldout"][index]))
            for part, arrays in enumerate(self._parts)
            for index, window in enumerate(arrays["windows"])
        ]
        places.sort()
        self._places = {window: (part, index) for window, part, index, _ in places}
        self.training: list[int] = [window for window, *_, heldout in places if not heldout]
        self.heldout: list[int] = [window for window, *_, heldout in places if heldout]

    @property
    def calibrated_margin(self) -> float:
        """The median MSE between the teacher's states and the antonyms' senses nearest to them."""
        return float(self.artifact.record.report["antonym_mse_quantiles"]["0.5"])

    def window(self, window: int) -> WindowActivations:
        """Return one window's activations."""
        part, index = self._places[window]
        arrays, dtype = self._parts[part], self._dtypes[part]
        rows = slice(int(arrays["offsets"][index]), int(arrays["offsets"][index + 1]))
        decoded = {
            name: torch.from_numpy(decode_states(arrays[name][rows], dtype))
            for name in ("entering", "states")
        }
        ids = {
            name: torch.from_numpy(arrays[name][rows].astype(np.int64))
            for name in ("labels", "predicted", "positives", "negatives")
        }
        return WindowActivations(
            window,
            expected=torch.from_numpy(arrays["expected"][rows].astype(np.float32)),
            entropy=torch.from_numpy(arrays["entropy"][rows]),
            **decoded,
            **ids,
        )


def check_same_teacher(store: ArtifactStore, teacher: Artifact, dictionary: Artifact) -> None:
    """Refuse a dictionary whose tokens, or senses, are not the teacher's.

    Raises:
        ArtifactError: naming both.
    """
    mine = load_tokenizer(teacher.folder()).fingerprint
    theirs = dictionary.record.report["tokenizer"]
    if mine != theirs:
        raise ArtifactError(
            f"The dictionary {dictionary.fingerprint} was made with tokenizer {theirs}, but the "
            f"teacher {teacher.record.report['source']} ({teacher.fingerprint}) has {mine}; "
            "build a dictionary for this teacher."
        )
    made_with = store.get("senses", dictionary.record.inputs["senses"]).record.inputs["teacher"]
    if made_with != teacher.fingerprint:
        other = store.get("teacher", made_with).record.report["source"]
        raise ArtifactError(
            f"The dictionary {dictionary.fingerprint} was made with teacher {other} ({made_with}), "
            f"not with {teacher.record.report['source']} ({teacher.fingerprint}); "
            "build a dictionary for this teacher."
        )


def _content_settings(config: TrainingConfig, student: StudentConfig) -> dict[str, object]:
    kept = {"n_candidates", "temperature", "max_train_tokens", "max_heldout_tokens"}
    return config.model_dump(mode="json", include=kept) | student.model_dump(mode="json")


def _inputs(teacher: Artifact, corpus: Artifact, dictionary: Artifact) -> dict[str, str]:
    return {
        "teacher": teacher.fingerprint,
        "corpus": corpus.fingerprint,
        "dictionary": dictionary.fingerprint,
    }


def _check_capacity(windows: Windows, config: TrainingConfig, model: Teacher) -> None:
    hidden_size = model.head.shape[1]
    per_position = 3 * 2 * hidden_size + 8 * config.n_candidates + 16
    n_positions = sum(
        int(windows.lengths[batch].sum()) for batch in captured_batches(windows, config)
    )
    needed = n_positions * per_position
    if needed > config.max_activation_bytes:
        raise CapacityError(
            f"Activations of {n_positions} positions take {needed / 2**30:.1f} GiB, more than "
            f"training.max_activation_bytes ({config.max_activation_bytes / 2**30:.1f} GiB); raise "
            "it or lower training.max_train_tokens."
        )


def _write_part(group: zarr.Group, captured: list[dict[str, Any]], dtype: str) -> int:
    """Write the arrays of a part in window order; return its number of positions."""
    captured = sorted(captured, key=lambda piece: piece["window"])
    lengths = [len(piece["labels"]) for piece in captured]
    put_array(group, "windows", np.array([p["window"] for p in captured], dtype=np.int32))
    put_array(group, "heldout", np.array([p["heldout"] for p in captured], dtype=np.bool_))
    put_array(group, "offsets", np.concatenate(([0], np.cumsum(lengths))).astype(np.int64))
    for name in _BY_POSITION:
        if name in ("entering", "states"):
            values = encode_states(torch.cat([p[name] for p in captured]), dtype)
        else:
            values = np.concatenate([p[name] for p in captured])
        put_array(group, name, values, chunk_bytes=_CHUNK_BYTES)
    push = np.concatenate([p["push"] for p in captured])
    put_array(group, "push", push[np.isfinite(push)].astype(np.float32))
    group.attrs["dtype"] = dtype
    return sum(lengths)
