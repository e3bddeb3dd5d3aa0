"""Tensors on their way between the host and a device, which neither waits for."""

import torch
from torch import Tensor


def onto(values: Tensor, device: torch.device) -> Tensor:
    """Return values on a device; a GPU copies them from pinned memory, in its own time.

    A copy from other memory would wait for all that the GPU was asked to compute before it.

    Args:
        values: on the host, or there already.
        device: where they are wanted.
    """
    waits = device.type == "cuda" and values.device.type == "cpu"
    return (values.pin_memory() if waits else values).to(device, non_blocking=True)
