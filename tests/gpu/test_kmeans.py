import numpy as np
import pytest
import torch

from dskd_core.config import SensesConfig
from dskd_core.dictionary.composition import compose
from dskd_core.senses.kmeans import cluster
from tests.gpu.conftest import GPU

TOKENS = (4, 60, 300, 700)


def points():
    rng = np.random.default_rng(0)
    return [
        (3 * rng.normal(size=(5, 64))[rng.integers(0, 5, n)] + rng.normal(size=(n, 64))).astype(
            np.float32
        )
        for n in TOKENS
    ]


def clustered(backend, device="cpu"):
    return cluster(
        points(), range(len(TOKENS)), SensesConfig(n_senses=5, backend=backend, device=device)
    )


def inertia(found):
    return sum(one.inertia for one in found)


def test_torch_finds_senses_as_good_as_the_reference(device):
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    assert inertia(clustered("torch", device)) <= 1.01 * inertia(clustered("sklearn"))


def test_torch_finds_the_same_senses_as_on_a_cpu_where_they_are_plain(device):
    for here, there in zip(clustered("torch"), clustered("torch", device), strict=True):
        assert here.inertia == pytest.approx(there.inertia, rel=1e-3)
        np.testing.assert_array_equal(here.labels, there.labels)
        np.testing.assert_array_equal(here.centroids, there.centroids)


def test_words_composed_of_senses_of_a_device_are_those_of_a_cpu(device):
    composed = []
    for found in (clustered("torch"), clustered("torch", device)):
        centroids = np.concatenate([one.centroids for one in found])
        offsets = np.cumsum([0, *(len(one.centroids) for one in found)])
        composed.append(compose(centroids, offsets, np.array([[1, 2, 3], [3, 0, 2]])))
    np.testing.assert_allclose(*composed, rtol=1e-5)


def test_torch_repeats_itself(device):
    first, again = (clustered("torch", device) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no NVIDIA GPU")
def test_cuml_finds_senses_as_good_as_torch():
    for package in ("cuml", "cupy"):
        pytest.importorskip(package, reason=f"needs {package}: pip install 'dskd[gpu]'")
    assert inertia(clustered("cuml", GPU)) <= 1.01 * inertia(clustered("torch"))
