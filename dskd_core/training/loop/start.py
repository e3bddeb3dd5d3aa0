"""The start of a run: the gap between the student's layers closed by least squares."""

from collections.abc import Iterator

import torch

from dskd_core.decoder.decoder import Decoder
from dskd_core.decoder.placement import onto
from dskd_core.errors import ConfigError
from dskd_core.training.activations.readers import ActivationReader
from dskd_core.training.student.gap_fit import (
    GapStates,
    find_projection,
    fit_projection,
    n_positions_for,
    unfittable,
)
from dskd_core.training.student.shape import Shape
from dskd_core.training.student.tail import Span, Tail, padded_entering

_WINDOWS = 8
"""Run at a time."""


def fit_start(student: Decoder, shape: Shape, tail: Tail, activations: ActivationReader) -> None:
    """Fit the last projection before the gap, in place, to the teacher's states behind it.

    The positions are those of windows spread evenly over the ones trained on, 10 for every column
    of the projection and at least 16,384. The student stays as it is.

    Raises:
        ConfigError: if the layer does not end with a projection that is added as it is.
    """
    fitted = shape.fitted
    span = Span(student, shape.entry, fitted + 1, float32=True)
    first = next(_batches(activations, 1, student.device))
    projection = find_projection(span.layers[-1], lambda: span.before_norm(first.entering))
    if projection is None:
        raise ConfigError(unfittable(type(student.model).__name__))
    n_positions = n_positions_for(span, projection)
    weight = fit_projection(
        span, projection, _batches(activations, n_positions, student.device), n_positions
    )
    tail.load({f"{fitted - shape.entry}.{projection.name}.weight": weight})


def _batches(
    activations: ActivationReader, n_positions: int, device: torch.device
) -> Iterator[GapStates]:
    """Read windows spread over the training text that have so many positions together."""
    n_windows = -(-n_positions // max(1, int(activations.lengths.mean())))
    every = max(1, len(activations.training) // n_windows)
    chosen = activations.training[::every]
    for start in range(0, len(chosen), _WINDOWS):
        windows = activations.read(chosen[start : start + _WINDOWS])
        entering, real = padded_entering([window.entering for window in windows])
        behind = torch.cat([w.bridge for w in windows if w.bridge is not None])
        yield GapStates(
            onto(entering, device).float(),
            None if real is None else onto(real, device),
            onto(behind, device).float(),
        )
