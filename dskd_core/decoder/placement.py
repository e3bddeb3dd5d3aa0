"""Tensors on their way between the host and a device, which neither waits for."""

import torch
from torch import Tensor


def onto(values: Tensor, device: torch.device) -> Tensor:
    """Return values on a device; a GPU copies them from pinned memory, in its own time.

    A copy from other memory would wait for all that the GPU was asked to compute before it.
    """
    waits = device.type == "cuda" and values.device.type == "cpu"
    return (values.pin_memory() if waits else values).to(device, non_blocking=True)


class Leaving:
    """Values on their way from a device to the host, where they are asked for later."""

    def __init__(self, values: Tensor) -> None:
        """Let the copy begin once the values are computed; a GPU copies into pinned memory."""
        self._event: torch.cuda.Event | None = None
        self._values = values
        if values.device.type == "cuda":
            self._values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._values.copy_(values, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record(torch.cuda.current_stream(values.device))

    def arrived(self) -> Tensor:
        """Wait for them alone, not for what the device was asked to compute since."""
        if self._event is not None:
            self._event.synchronize()
        return self._values

    def unpinned(self) -> Tensor:
        """Wait for them, and put them where the next ones do not need the place."""
        values = self.arrived()
        return values if self._event is None else values.clone()
