"""The bits states are stored in. Arrays in, arrays out."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dskd_core.errors import DataError

GROUP_WIDTH = 64
"""Values of a row that share a scale, where states are kept in 8 bits."""
_MOST_INT8 = 127
_ROWS_AT_ONCE = 8192  # in float32 beside the whole
_SMALLEST = 2.0**-24  # of float16 above 0


def all_finite(states: Tensor) -> Tensor:
    """Say on their device, in a bool, whether no state is NaN or infinite."""
    return torch.isfinite(states.sum(dtype=torch.float32))


def require_finite(is_finite: bool, shard_name: str) -> None:
    """Refuse the teacher's states of a batch if one is NaN or infinite.

    A NaN state predicts token 0, so it might be filed under nothing and never be seen again.

    Raises:
        DataError: naming the shard.
    """
    if not is_finite:
        raise DataError(
            f"Shard {shard_name!r} has a state that is nan or infinite as the teacher gives it; "
            "set teacher.dtype to float32, or look for damage in the teacher's weights."
        )


def encode_states(
    states: Tensor,
    state_dtype: str,
    shard_name: str = "",
    *,
    cure: str = "set embeddings.state_dtype to bfloat16, or teacher.dtype to float32 if it is nan",
) -> np.ndarray:
    """Return states as the bits that are stored: float32, float16, or bfloat16 as uint16.

    They may have any shape and float dtype. ``cure`` says what to set where ``state_dtype`` cannot
    hold one.

    Raises:
        DataError: if a state is NaN or infinite, before or after the conversion.
    """
    converted = states.to(getattr(torch, state_dtype))
    if not bool(torch.isfinite(converted).all()):
        largest = float(states.float().abs().max())
        raise DataError(
            f"Shard {shard_name!r} has a state that {state_dtype} cannot hold (largest magnitude "
            f"{largest:g}); {cure}."
        )
    if state_dtype == "bfloat16":
        return converted.contiguous().view(torch.uint16).cpu().numpy()
    return converted.cpu().numpy()


def quantise_states(states: Tensor, shard_name: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Return states in 8 bits, every 64 values of a row by a scale of their own.

    The largest magnitude of a group is 127 of its scale. A scale a row would be coarser by far:
    final states have a few values many times as large as the others.

    Args:
        states: [n, d], of any float dtype.
        shard_name: for the message of an error.

    Returns:
        ([n, d] int8, [n, ceil(d / 64)] float16 scales); :func:`dequantise_states` gives the states
        back, no value farther off than half a step of its group.

    Raises:
        DataError: if a state is NaN or infinite, or beyond 127 times what float16 holds.
    """
    n, d = states.shape
    steps = np.empty((n, d), dtype=np.int8)
    scales = np.empty((n, -(-d // GROUP_WIDTH)), dtype=np.float16)
    for start in range(0, n, _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        wide = _in_groups(states[rows].float())
        scale = (wide.abs().amax(dim=2) / _MOST_INT8).half()
        require_finite(bool(torch.isfinite(scale).all()), shard_name)
        # Float16 may have rounded a scale down: its largest value would be 128 and turn negative.
        step = (wide / scale.float().clamp(min=_SMALLEST)[:, :, None]).round_()
        step = step.clamp_(-_MOST_INT8, _MOST_INT8).to(torch.int8)
        steps[rows] = step.flatten(1)[:, :d].cpu().numpy()
        scales[rows] = scale.cpu().numpy()
    return steps, scales


def dequantise_states(steps: np.ndarray, scales: np.ndarray) -> NDArray[np.float32]:
    """Return what :func:`quantise_states` kept of states, [n, d]."""
    d = steps.shape[1]
    each = np.repeat(scales.astype(np.float32), GROUP_WIDTH, axis=1)[:, :d]
    return steps.astype(np.float32) * each


def _in_groups(states: Tensor) -> Tensor:
    """Return rows as [n, ceil(d / 64), 64], the last group filled up with zeros."""
    short = -states.shape[1] % GROUP_WIDTH
    padded = torch.nn.functional.pad(states, (0, short))
    return padded.view(len(states), -1, GROUP_WIDTH)


def encode_rows(
    states: Tensor, state_dtype: str, shard_name: str = ""
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return rows as they are stored, [n, d], and their scales where they are int8.

    Raises:
        DataError: as :func:`quantise_states`, or :func:`encode_states`.
    """
    if state_dtype == "int8":
        return quantise_states(states, shard_name)
    return encode_states(states, state_dtype, shard_name), None


def decode_rows(
    bits: np.ndarray, scales: np.ndarray | None, state_dtype: str
) -> NDArray[np.float32]:
    """Return what :func:`encode_rows` kept of rows, [n, d]."""
    return decode_states(bits, state_dtype) if scales is None else dequantise_states(bits, scales)


def stored_states(bits: np.ndarray, state_dtype: str) -> Tensor:
    """Return stored states as a tensor of the dtype they are stored in, without a copy.

    To be widened where they are computed with: on a GPU that takes no time, and half of the bytes
    travel there.
    """
    found = torch.from_numpy(bits)
    return found.view(torch.bfloat16) if state_dtype == "bfloat16" else found


def decode_states(bits: np.ndarray, state_dtype: str) -> NDArray[np.float32]:
    """Return stored states as float32, exactly."""
    if state_dtype == "bfloat16":
        return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return bits.astype(np.float32)
