"""k-means of real size: tokens of 2,000 embeddings each, as wide as the teacher, k = 10."""

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.gpu.part import Told
from benchmarks.gpu.scene import Scene
from dskd_core.senses.kmeans import cluster

_N_WARM = 2
_N_CUML = 16
"""cuML takes one token after the other; so many are enough to see how fast."""


def measure(scene: Scene, told: Told, backend: str) -> None:
    """Cluster with the settings of the parameter file, but for the backend."""
    config = scene.config().senses.model_copy(update={"backend": backend})
    n_tokens = scene.sizes.n_clustered if backend == "torch" else _N_CUML
    points = _mixtures(scene, min(n_tokens, scene.sizes.n_clustered))

    def run(some: list[NDArray[np.float32]]) -> float:
        found = cluster(some, range(len(some)), config)
        return sum(one.inertia for one in found)

    run(points[:_N_WARM])
    scene.forget_peak()
    inertia: list[float] = []
    seconds = scene.seconds(lambda: inertia.append(run(points)))
    print(
        f"{backend}: {len(points)} tokens in {seconds:.2f} s, {len(points) / seconds:.1f} a second"
    )
    told(
        tokens_per_second=len(points) / seconds,
        inertia_per_token=inertia[0] / len(points),
        n_tokens=len(points),
        peak_bytes=scene.peak_bytes(),
    )


def _mixtures(scene: Scene, n_tokens: int) -> list[NDArray[np.float32]]:
    """Return uneven clusters of every token, alike for all backends: the first tokens are equal."""
    n, d = scene.sizes.n_rows, int(scene.sizes.model["hidden_size"])
    points = []
    for token in range(n_tokens):
        made = torch.Generator(scene.device).manual_seed(token)
        here = {"device": scene.device, "generator": made}
        which = torch.rand(n, **here).square_().mul_(14).long()
        rows = torch.randn(14, d, **here)[which] + torch.randn(n, d, **here)
        points.append(rows.cpu().numpy())
    return points
