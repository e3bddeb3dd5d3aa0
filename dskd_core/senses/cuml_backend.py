"""k-means by RAPIDS cuML on an NVIDIA GPU, one token after the other.

cuML has no batched k-means, and its own seeding promises no determinism, so the starts are ours:
the same greedy k-means++ from the same random numbers as the torch backend's, one fit per start.
A token's rows go to the GPU once; CuPy and torch share that memory.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dskd_core import interruption
from dskd_core.config import SensesConfig
from dskd_core.decoder.precision import torch_device
from dskd_core.errors import ConfigError
from dskd_core.senses.torch_backend import plus_plus, uniforms


def assign(
    points: Sequence[NDArray[np.float32]],
    token_ids: Sequence[int],
    config: SensesConfig,
) -> list[NDArray[np.int32]]:
    """Return the cluster of every row of every token, int32 [n_i] each.

    Raises:
        ConfigError: if cuML or CuPy is not installed.
    """
    cupy, kmeans = _import_cuml()
    place = torch_device(config.device)
    labels = []
    # Both run on the GPU that is set, whichever the rows are on.
    with torch.cuda.device(place) if place.type == "cuda" else nullcontext():
        for rows, token_id in zip(points, token_ids, strict=True):
            interruption.check()
            X = torch.from_numpy(rows).to(place)
            draws = torch.from_numpy(
                uniforms(token_id, config.seed, config.n_restarts, config.n_senses)
            ).to(place)
            starts = _starts(X, draws, getattr(torch, config.coarse_dtype))
            fitted = (
                _fit(kmeans, cupy.asarray(X), cupy.asarray(C), config.max_iterations)
                for C in starts
            )
            best = min(fitted, key=lambda model: float(model.inertia_))
            labels.append(_on_host(best.labels_).astype(np.int32))
    return labels


def _import_cuml() -> tuple[Any, Any]:
    try:
        import cupy
        from cuml.cluster import KMeans
    except ImportError as error:
        raise ConfigError(
            f"backend 'cuml' needs cuML and CuPy ({error}); run pip install 'dskd[gpu]' on a "
            "machine with an NVIDIA GPU, or set backend: torch."
        ) from error
    return cupy, KMeans


def _starts(X: torch.Tensor, draws: torch.Tensor, coarse: torch.dtype) -> torch.Tensor:
    """Return starting centroids, float32 [r, k, d], contiguous for CuPy."""
    centred = (X - X.mean(0))[None]
    mask = torch.ones(centred.shape[:2], dtype=torch.bool, device=X.device)
    chosen = plus_plus(centred.to(coarse), centred.square().sum(-1), mask, draws[None])
    return X[chosen[0]].contiguous()


def _fit(kmeans: Any, rows: Any, start: Any, max_iterations: int) -> Any:
    interruption.check()
    # n_init="auto" would mean ten equal runs from one start.
    model = kmeans(
        n_clusters=len(start), init=start, n_init=1, max_iter=max_iterations, output_type="cupy"
    )
    return model.fit(rows)


def _on_host(labels: Any) -> NDArray[Any]:
    return np.asarray(labels.get() if hasattr(labels, "get") else labels)
