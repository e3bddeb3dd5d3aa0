"""What training needs of the teacher, computed once for all epochs, seeds, arms and weights.

The shards (layout.py) depend on the teacher, the text, the student's layers and T, and on no
dictionary: senses may change, and the teacher does not run again. An ``activations`` artifact names
its shards; readers.py reads them.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dskd_core.config import TeacherConfig, TrainingConfig
from dskd_core.corpus.store import Windows, load_windows
from dskd_core.decoder.decoder import device_lock
from dskd_core.decoder.fitting import in_batches_that_fit
from dskd_core.decoder.precision import processor_on, resolved_teacher
from dskd_core.decoder.tokenizer import check_same_tokenizer
from dskd_core.errors import CapacityError
from dskd_core.progress import Progress, silent
from dskd_core.shards import Shard, cut
from dskd_core.store.arrays import get_array
from dskd_core.store.artifacts import Artifact, ArtifactStore, Work
from dskd_core.training.activations.capture import (
    Capturer,
    WindowActivations,
    check_batch,
    length_sorted_batches,
    sample_windows,
)
from dskd_core.training.activations.layout import SHARD, position_bytes, write_shard

Mode = Literal["cached", "online"]

VERSION = 4  # of the stage and of its shards
SHARD_TOKENS = 32768
"""Tokens of a shard, in whole batches: a plan counts shards with it."""
CALIBRATION_TOKENS = 8192


def resolve_mode(config: TrainingConfig, untrained: Artifact, text: Artifact) -> Mode:
    """Say whether the teacher runs once before training, or beside it.

    Raises:
        CapacityError: if ``cached`` was asked for and the activations exceed their budget.
    """
    if config.mode == "online":
        return "online"
    hidden_size = int(untrained.record.report["hidden_size"])
    return mode_within_budget(config, _cached_positions(text.uri, config), hidden_size)


def mode_within_budget(config: TrainingConfig, n_positions: int, hidden_size: int) -> Mode:
    """Say whether so many positions' activations are stored, by their bytes.

    Raises:
        CapacityError: if ``cached`` was asked for and they exceed their budget.
    """
    needed = n_positions * captured_bytes(hidden_size, config)
    if needed <= config.max_activation_bytes:
        return "cached"
    if config.mode == "auto":
        return "online"
    raise CapacityError(
        f"Activations of {n_positions:,} positions take {needed / 1e9:,.3g} GB, more than "
        f"training.max_activation_bytes ({config.max_activation_bytes / 1e9:,.3g} GB); raise it, "
        "lower training.max_train_tokens, or set training.mode to auto or online."
    )


def captured_bytes(hidden_size: int, config: TrainingConfig) -> int:
    """Return the bytes that one position takes, with all that recipes need of it."""
    return position_bytes(
        hidden_size, reads_gap=config.reads_gap, n_others=len(config.other_temperatures)
    )


@lru_cache(maxsize=1)
def _cached_positions(text_uri: str, config: TrainingConfig) -> int:
    """Count the positions of all windows to capture, once for all shards of this process."""
    windows = load_windows(ArtifactStore.open(text_uri))
    _, captured = _choose(windows, config, "cached")
    return int(windows.lengths[captured].sum()) + len(windows.prefix) * len(captured)


def capture_shards(text: Artifact, config: TrainingConfig, mode: Mode) -> list[Shard]:
    """Cut the batches of the windows to capture into shards.

    Raises:
        CapacityError: if a step takes more windows than there are to train on.
    """
    windows = load_windows(text)
    trained, captured = _choose(windows, config, mode)
    check_batch(config, len(trained))
    batches = length_sorted_batches(windows, captured)
    return cut([int(windows.lengths[batch].sum()) for batch in batches], SHARD_TOKENS)


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
        DataError: if the teacher gives a NaN or an infinity; the message names the shard.
        CapacityError: if the device has no memory for one window.
    """
    ours = untrained.record.report["tokenizer"]
    check_same_tokenizer(text, text.record.inputs["tokenizer"], untrained, ours)
    teacher_config = resolved_teacher(teacher_config)
    work = Work(
        "activations-shard",
        _content_settings(config, mode) | {"batches": [shard.start, shard.stop]},
        _inputs(untrained, text),
        version=VERSION,
    )
    if found := store.find(work):
        return found
    windows = load_windows(text)
    with device_lock, store.publish(work) as draft:
        draft.computed(teacher_config.dtype, processor_on(teacher_config.device))
        capturer = Capturer.load(teacher, untrained, teacher_config, reads_gap=config.reads_gap)
        batches = length_sorted_batches(windows, _choose(windows, config, mode)[1])
        batches = batches[shard.start : shard.stop]
        captured, fit = in_batches_that_fit(
            lambda fine: _capture(capturer, windows, fine, config, progress),
            batches,
            windows.lengths,
            setting="tokens",
            cure="corpus.window_tokens or prompts.max_prompt_tokens",
        )
        group = draft.write_group(SHARD)
        n_positions = write_shard(group, windows, captured, teacher_config.dtype, shard.name)
        draft.counts |= {"windows": len(captured), "positions": n_positions}
        draft.report |= fit
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
        captured += capturer.run_with_targets(
            windows,
            batch,
            temperature=config.temperature,
            compiled=config.compile_head,
            others=config.other_temperatures,
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
    shards: Sequence[Artifact],
) -> Artifact:
    """Join the shards; the record says what they were captured from, in words."""
    settings = _content_settings(config, mode)
    work = Work("activations", settings, _inputs(untrained, text), version=VERSION)
    if found := store.find(work):
        return found
    with store.publish(work) as draft:
        draft.computed_as(shards)
        heldout = np.concatenate([get_array(shard.group(SHARD), "heldout") for shard in shards])
        draft.counts |= {
            "windows": len(heldout),
            "heldout_windows": int(heldout.sum()),
            "positions": sum(shard.record.counts["positions"] for shard in shards),
        }
        draft.report |= {
            "parts": [shard.fingerprint for shard in shards],
            "teacher": untrained.record.report["source"],
            "tokenizer": untrained.record.report["tokenizer"],
            "text": {"stage": text.record.stage} | text.record.config,
        }
    return store.get(work.stage, work.fingerprint)


def _choose(
    windows: Windows, config: TrainingConfig, mode: Mode
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the windows to train on and those to capture: online, of the former a sample."""
    budget = config.max_train_tokens
    trained = sample = sample_windows(windows, heldout=False, budget=budget)
    if mode == "online":
        budget = min(budget or CALIBRATION_TOKENS, CALIBRATION_TOKENS)
        sample = sample_windows(windows, heldout=False, budget=budget)
    heldout = sample_windows(windows, heldout=True, budget=config.max_heldout_tokens)
    return trained, np.concatenate([sample, heldout])


def _content_settings(config: TrainingConfig, mode: Mode) -> dict[str, object]:
    kept = {"temperature", "max_train_tokens", "max_heldout_tokens"}
    bridge = {"bridge": True} if config.reads_gap else {}
    others = {"other_temperatures": list(config.other_temperatures)}
    return (
        config.model_dump(mode="json", include=kept)
        | bridge
        | (others if config.other_temperatures else {})
        | {"mode": mode}
    )


def _inputs(untrained: Artifact, text: Artifact) -> dict[str, str]:
    return {
        "teacher": untrained.record.inputs["teacher"],
        "untrained-student": untrained.fingerprint,
        "text": text.fingerprint,
    }
