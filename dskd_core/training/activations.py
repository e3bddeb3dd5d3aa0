"""What training needs of the teacher, computed once for all epochs, seeds, arms and weights.

A part (``part.zarr`` of an ``activations-shard`` artifact) holds whole windows. P positions with
the prefix:

    windows    [w]      int32    window numbers of the corpus
    documents  [w]      uint64   hash of each window's document
    heldout    [w]      bool     kept for evaluation
    offsets    [w + 1]  int64    positions of window i are offsets[i]:offsets[i + 1]
    labels     [P]      int32    x_(t+1), -1 where there is none or it is not scored
    roles      [P]      int8     what the label is: 0 text, 1 of a prompt, 2 of an answer
    entering   [P, d]            h, the state that enters the first trainable layer
    states     [P, d]            m_t, the teacher's final state
    expected   [P, d]   float16  e_t = W^T softmax(W m_t / T), see head.py
    entropy    [P]      float32  of the teacher at T, in nats
    predicted  [P]      int32    argmax of the teacher

They depend on the teacher, the text, the student's layers and T, and on no dictionary: senses may
change, and the teacher does not run again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import psutil
import torch
import zarr
from numpy.typing import NDArray

from dskd_core.arrays import get_array, put_array
from dskd_core.artifacts import Artifact, ArtifactStore, Work
from dskd_core.config import TeacherConfig, TrainingConfig
from dskd_core.corpus.store import Windows, load_windows
from dskd_core.embeddings.fitting import in_fitting_batches
from dskd_core.embeddings.states import decode_states, encode_states
from dskd_core.embeddings.teacher import device_lock
from dskd_core.errors import ArtifactError, CapacityError, ConfigError
from dskd_core.progress import Progress, silent
from dskd_core.shards import Shard, cut
from dskd_core.training.capture import (
    Capturer,
    WindowActivations,
    chosen_windows,
    labels_of,
    length_sorted_batches,
    roles_of,
)

Mode = Literal["cached", "online"]

PART = "part.zarr"
_SHARD_TOKENS = 32768
_CALIBRATION_TOKENS = 8192
_CHUNK_BYTES = 1 << 20
_MEMORY_SHARE = 0.25
_BY_POSITION = (
    "labels",
    "roles",
    "entering",
    "states",
    "expected",
    "entropy",
    "predicted",
)


def resolve_mode(config: TrainingConfig, untrained: Artifact, text: Artifact) -> Mode:
    """Say whether the teacher runs once before training, or beside it.

    Raises:
        CapacityError: if ``cached`` was asked for and the activations exceed their budget.
    """
    if config.mode == "online":
        return "online"
    needed, n_positions = activation_bytes(config, untrained, text)
    if needed <= config.max_activation_bytes:
        return "cached"
    if config.mode == "auto":
        return "online"
    raise CapacityError(
        f"Activations of {n_positions} positions take {needed / 2**30:.1f} GiB, more than "
        f"training.max_activation_bytes ({config.max_activation_bytes / 2**30:.1f} GiB); raise "
        "it, lower training.max_train_tokens, or set training.mode to auto or online."
    )


def activation_bytes(
    config: TrainingConfig, untrained: Artifact, text: Artifact
) -> tuple[int, int]:
    """Return the bytes that cached activations take, and their number of positions."""
    windows = load_windows(text)
    members = _captured(windows, config, "cached")
    n_positions = int(windows.lengths[members].sum()) + len(windows.prefix) * len(members)
    return n_positions * position_bytes(int(untrained.record.report["hidden_size"])), n_positions


def position_bytes(hidden_size: int) -> int:
    """Return the bytes of one position: h, m_t and e_t in 16 bits, and 13 of ids and entropy."""
    return 3 * 2 * hidden_size + 13


def capture_shards(text: Artifact, config: TrainingConfig, mode: Mode) -> list[Shard]:
    """Cut the batches of the windows to capture into shards."""
    windows = load_windows(text)
    batches = length_sorted_batches(windows, _captured(windows, config, mode))
    return cut([int(windows.lengths[batch].sum()) for batch in batches], _SHARD_TOKENS)


def capture_shard(
    store: ArtifactStore,
    config: TrainingConfig,
    teacher_config: TeacherConfig,
    teacher: Artifact,
    untrained: Artifact,
    text: Artifact,
    mode: Mode,
    shard: Shard,
    *,
    progress: Progress = silent,
) -> Artifact:
    """Run the teacher once over the windows of a shard and keep what training needs.

    Raises:
        ArtifactError: if the text was cut with another tokenizer than the teacher's.
        CapacityError: if the device has no memory for one window.
    """
    _check_same_tokenizer(untrained, text)
    work = Work(
        "activations-shard",
        _content_settings(config, mode) | {"batches": [shard.start, shard.stop]},
        _inputs(untrained, text),
        version=2,
    )
    if found := store.find(work):
        return found
    windows = load_windows(text)
    with device_lock, store.publish(work) as draft:
        capturer = Capturer.load(teacher, untrained, teacher_config)
        batches = length_sorted_batches(windows, _captured(windows, config, mode))
        batches = batches[shard.start : shard.stop]
        fitted = in_fitting_batches(
            lambda fine: _capture(capturer, windows, fine, config, progress),
            batches,
            windows.lengths,
            setting="tokens",
            cure="corpus.window_tokens or prompts.max_prompt_tokens",
        )
        captured = fitted.value
        group = draft.write_group(PART)
        n_positions = _write_part(group, windows, captured, teacher_config.dtype)
        draft.counts |= {"windows": len(captured), "positions": n_positions}
        draft.report |= fitted.report("batch_tokens")
    return store.get(work.stage, work.fingerprint)


def _capture(
    capturer: Capturer,
    windows: Windows,
    batches: Sequence[NDArray[np.int64]],
    config: TrainingConfig,
    progress: Progress,
) -> list[WindowActivations]:
    captured: list[WindowActivations] = []
    n_total, n_done = sum(int(windows.lengths[batch].sum()) for batch in batches), 0
    for batch in batches:
        captured += capturer.run(
            windows, batch, temperature=config.temperature, compiled=config.compile_head
        )
        n_done += int(windows.lengths[batch].sum())
        progress(n_done, n_total, "tokens")
    return captured


def collect_activations(
    store: ArtifactStore,
    config: TrainingConfig,
    untrained: Artifact,
    text: Artifact,
    mode: Mode,
    parts: Sequence[Artifact],
) -> Artifact:
    """Join the shards; the record says what they were captured from, in words."""
    work = Work("activations", _content_settings(config, mode), _inputs(untrained, text), version=2)
    if found := store.find(work):
        return found
    with store.publish(work) as draft:
        heldout = np.concatenate([get_array(part.group(PART), "heldout") for part in parts])
        draft.counts |= {
            "windows": len(heldout),
            "heldout_windows": int(heldout.sum()),
            "positions": sum(part.record.counts["positions"] for part in parts),
        }
        draft.report |= {
            "parts": [part.fingerprint for part in parts],
            "teacher": untrained.record.report["source"],
            "tokenizer": untrained.record.report["tokenizer"],
            "text": {"stage": text.record.stage} | text.record.config,
        }
    return store.get(work.stage, work.fingerprint)


class Source(Protocol):
    """Where a run gets the activations of a window from: the store, or the teacher."""

    @property
    def training(self) -> Sequence[int]:
        """Windows to train on, ascending."""

    def labels(self, window: int) -> NDArray[np.int64]:
        """Return x_(t+1) at every position of a window, -1 where there is none."""

    def roles(self, window: int) -> NDArray[np.int64]:
        """Return what the label of every position of a window is."""

    def read(self, windows: Sequence[int]) -> list[WindowActivations]:
        """Return the activations of windows."""


class Activations:
    """All captured windows; the states in memory where they take less than a quarter of it."""

    def __init__(
        self, artifact: Artifact, store: ArtifactStore, *, validation_share: float = 0.0
    ) -> None:
        """Open the parts of an ``activations`` artifact.

        Args:
            artifact: the activations.
            store: with their parts.
            validation_share: share of the held-out documents that is for validation.

        Raises:
            ArtifactError: if a part is gone.
            ConfigError: if documents are wanted for validation and fewer than two are held out.
        """
        self.artifact = artifact
        names = artifact.record.report["parts"]
        shards = [store.get("activations-shard", name) for name in names]
        groups = [shard.group(PART) for shard in shards]
        n_bytes = sum(shard.record.n_bytes for shard in shards)
        in_memory = n_bytes < _MEMORY_SHARE * psutil.virtual_memory().total
        self._parts = [
            {
                name: group[name] if name in _STATES and not in_memory else get_array(group, name)
                for name in (*_BY_POSITION, *_BY_WINDOW)
            }
            for group in groups
        ]
        self._dtypes = [str(group.attrs["dtype"]) for group in groups]
        places = sorted(
            (int(window), part, index)
            for part, arrays in enumerate(self._parts)
            for index, window in enumerate(arrays["windows"])
        )
        self._places = {window: (part, index) for window, part, index in places}
        is_kept = {window: self._parts[part]["heldout"][i] for window, part, i in places}
        kept = [window for window in is_kept if is_kept[window]]
        self.training = [window for window in is_kept if not is_kept[window]]
        validation = self._validation(kept, validation_share)
        self.validation = [window for window in kept if self.document(window) in validation]
        self.heldout = [window for window in kept if self.document(window) not in validation]

    def document(self, window: int) -> int:
        """Return the hash of a window's document."""
        part, index = self._places[window]
        return int(self._parts[part]["documents"][index])

    def labels(self, window: int) -> NDArray[np.int64]:
        """Return x_(t+1) at every position of a window, -1 where there is none."""
        return self._rows(window, "labels").astype(np.int64)

    def roles(self, window: int) -> NDArray[np.int64]:
        """Return what the label of every position of a window is."""
        return self._rows(window, "roles").astype(np.int64)

    def read(self, windows: Sequence[int]) -> list[WindowActivations]:
        """Return the activations of windows, states decoded to float32."""
        return [self.window(window) for window in windows]

    def window(self, window: int) -> WindowActivations:
        """Return the activations of one window, states decoded to float32."""
        dtype = self._dtypes[self._places[window][0]]
        decoded = {
            name: torch.from_numpy(decode_states(self._rows(window, name), dtype))
            for name in ("entering", "states")
        }
        ids = {
            name: torch.from_numpy(self._rows(window, name).astype(np.int64))
            for name in ("labels", "roles", "predicted")
        }
        return WindowActivations(
            window,
            expected=torch.from_numpy(self._rows(window, "expected").astype(np.float32)),
            entropy=torch.from_numpy(self._rows(window, "entropy")),
            **decoded,
            **ids,
        )

    def _rows(self, window: int, name: str) -> NDArray[Any]:
        part, index = self._places[window]
        start, stop = self._parts[part]["offsets"][index : index + 2]
        return np.asarray(self._parts[part][name][int(start) : int(stop)])

    def _validation(self, heldout: list[int], share: float) -> set[int]:
        """Choose held-out documents for validation, at least one: those of the smallest hashes."""
        if not share:
            return set()
        documents = sorted({self.document(window) for window in heldout})
        if len(documents) < 2:
            raise ConfigError(
                f"training.validation_steps needs two held-out documents, one to validate on and "
                f"one to score on; there are {len(documents)}: raise corpus.heldout_share."
            )
        return set(documents[: min(len(documents) - 1, max(1, int(share * len(documents))))])


@dataclass(frozen=True)
class Online:
    """The teacher beside the student: the activations of a window, made when they are needed."""

    capturer: Capturer
    windows: Windows
    training: list[int]

    @classmethod
    def load(
        cls,
        config: TrainingConfig,
        teacher_config: TeacherConfig,
        teacher: Artifact,
        untrained: Artifact,
        text: Artifact,
    ) -> "Online":
        """Load the teacher and choose the windows to train on."""
        windows = load_windows(text)
        training = chosen_windows(windows, heldout=False, budget=config.max_train_tokens)
        longest = len(windows.prefix) + int(windows.lengths[training].max())
        capturer = Capturer.load(
            teacher,
            untrained,
            teacher_config,
            compiled_length=longest if config.compile_teacher else None,
        )
        return cls(capturer, windows, training.tolist())

    def labels(self, window: int) -> NDArray[np.int64]:
        """Return x_(t+1) at every position of a window, -1 where there is none."""
        return labels_of(self.windows, window)

    def roles(self, window: int) -> NDArray[np.int64]:
        """Return what the label of every position of a window is."""
        return roles_of(self.windows, window)

    def read(self, windows: Sequence[int]) -> list[WindowActivations]:
        """Run the teacher over windows; its targets are formed with the loss."""
        return self.capturer.run(self.windows, np.asarray(windows), temperature=None)


_STATES = ("entering", "states", "expected")
_BY_WINDOW = ("windows", "documents", "heldout", "offsets")


def _captured(windows: Windows, config: TrainingConfig, mode: Mode) -> NDArray[np.int64]:
    """Return the windows to capture: online, of the training ones a sample to calibrate on."""
    budget = config.max_train_tokens
    if mode == "online":
        budget = min(budget or _CALIBRATION_TOKENS, _CALIBRATION_TOKENS)
    return np.concatenate(
        [
            chosen_windows(windows, heldout=False, budget=budget),
            chosen_windows(windows, heldout=True, budget=config.max_heldout_tokens),
        ]
    )


def _content_settings(config: TrainingConfig, mode: Mode) -> dict[str, object]:
    kept = {"temperature", "max_train_tokens", "max_heldout_tokens"}
    return config.model_dump(mode="json", include=kept) | {"mode": mode}


def _inputs(untrained: Artifact, text: Artifact) -> dict[str, str]:
    return {
        "teacher": untrained.record.inputs["teacher"],
        "untrained-student": untrained.fingerprint,
        "text": text.fingerprint,
    }


def _check_same_tokenizer(untrained: Artifact, text: Artifact) -> None:
    mine, theirs = untrained.record.report["tokenizer"], text.record.inputs["tokenizer"]
    if mine != theirs:
        raise ArtifactError(
            f"The {text.record.stage} {text.fingerprint} was cut with tokenizer {theirs}, but the "
            f"teacher {untrained.record.report['source']} has {mine}; build it for this teacher."
        )


def _write_part(
    group: zarr.Group, windows: Windows, captured: list[WindowActivations], dtype: str
) -> int:
    """Write the arrays of a part in window order; return its number of positions."""
    captured = sorted(captured, key=lambda piece: piece.window)
    numbers = np.array([piece.window for piece in captured], dtype=np.int32)
    lengths = [len(piece.labels) for piece in captured]
    put_array(group, "windows", numbers)
    put_array(group, "documents", windows.document_keys[windows.documents[numbers]])
    put_array(group, "heldout", windows.heldout[numbers])
    put_array(group, "offsets", np.concatenate(([0], np.cumsum(lengths))).astype(np.int64))
    stored = {"labels": torch.int32, "roles": torch.int8, "predicted": torch.int32} | {
        "expected": torch.float16,
        "entropy": torch.float32,
    }
    for name in _BY_POSITION:
        whole = torch.cat([getattr(piece, name) for piece in captured])
        if name in stored:
            values = whole.to(stored[name]).cpu().numpy()
        else:
            values = encode_states(whole, dtype)
        put_array(group, name, values, chunk_bytes=_CHUNK_BYTES)
    group.attrs["dtype"] = dtype
    return sum(lengths)
