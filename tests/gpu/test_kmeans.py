import numpy as np
import pytest
import torch

from dskd_core.senses.kmeans import cluster

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


def points():
    rng = np.random.default_rng(0)
    return [
        (rng.normal(size=(8, 64))[rng.integers(0, 8, n)] + rng.normal(size=(n, 64))).astype(
            np.float32
        )
        for n in (4, 60, 700, 2000)
    ]


def total(backend, **settings):
    found = cluster(points(), range(4), n_senses=5, backend=backend, **settings)
    return sum(c.inertia for c in found)


def test_cuml_is_as_good_as_the_reference():
    pytest.importorskip("cuml", reason="needs the gpu extra: pip install 'dskd[gpu]'")
    pytest.importorskip("cupy", reason="needs the gpu extra: pip install 'dskd[gpu]'")
    assert total("cuml", device="cuda") <= 1.01 * total("sklearn")


def test_torch_on_a_gpu_is_as_good_as_the_reference():
    assert total("torch", device="cuda") <= 1.01 * total("sklearn")


def test_torch_on_a_gpu_repeats_itself():
    first, again = (cluster(points(), range(4), n_senses=5, device="cuda") for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
