"""The bits states are stored in. Arrays in, arrays out."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dskd_core.errors import DataError


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

    Args:
        states: of any shape and float dtype.
        state_dtype: what they are stored in.
        shard_name: for the message of an error.
        cure: likewise: what to set where ``state_dtype`` cannot hold one.

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


def decode_states(bits: np.ndarray, state_dtype: str) -> NDArray[np.float32]:
    """Return stored states as float32, exactly."""
    if state_dtype == "bfloat16":
        return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return bits.astype(np.float32)
