"""The call of cuML, held to the signature of its real wheel; numerics are tested in tests/gpu."""

import ast
import inspect
import json
import sys
import types
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from dskd_core.config import SensesConfig
from dskd_core.errors import ConfigError
from dskd_core.senses import cuml_backend
from dskd_core.senses.kmeans import cluster

# Read from cuml/cluster/kmeans.pyx inside the wheel of the version it names.
SIGNATURE = json.loads((Path(__file__).parent / "cuml_kmeans_26_10.json").read_text())


def strict(positional, keywords):
    """Make a signature that refuses every argument the real one does not have."""
    own = [
        inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None)
        for n in positional
    ]
    named = [
        inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=d) for n, d in keywords.items()
    ]
    return inspect.Signature([*own, *named])


def default(text):
    return 1 << 15 if "<<" in text else ast.literal_eval(text)


@pytest.fixture
def stand_in(monkeypatch):
    """Put a cuML that computes with scikit-learn, and a CuPy that is NumPy, in their place."""
    defaults = {name: default(text) for name, text in SIGNATURE["init_keywords"].items()}
    made = strict([], defaults)
    fitted = strict(SIGNATURE["fit"]["positional"], {})
    calls = []

    class KMeans:
        def __init__(self, *args, **keywords):
            bound = made.bind(*args, **keywords)
            bound.apply_defaults()
            self.settings = bound.arguments
            calls.append(self.settings)

        def fit(self, *args, **keywords):
            from sklearn.cluster import KMeans as Reference

            X = fitted.bind(*args, **keywords).arguments["X"]
            n_clusters, start = self.settings["n_clusters"], self.settings["init"]
            if len(X) < n_clusters:
                raise ValueError("n_samples < n_clusters")
            assert X.dtype == start.dtype == np.float32
            assert start.shape == (n_clusters, X.shape[1])
            model = Reference(n_clusters, init=start, n_init=1, max_iter=self.settings["max_iter"])
            model.fit(X)
            self.labels_, self.inertia_ = model.labels_, model.inertia_
            return self

    cupy = types.ModuleType("cupy")
    cupy.asarray = np.asarray
    cuml, clusters = types.ModuleType("cuml"), types.ModuleType("cuml.cluster")
    clusters.KMeans = KMeans
    for name, module in (("cupy", cupy), ("cuml", cuml), ("cuml.cluster", clusters)):
        monkeypatch.setitem(sys.modules, name, module)
    return calls


def points():
    rng = np.random.default_rng(0)
    return [rng.normal(size=(n, 6)).astype(np.float32) for n in (2, 80, 30)]


def test_every_restart_is_one_fit_from_our_own_start(stand_in):
    found = cluster(
        points(), [4, 5, 6], SensesConfig(n_senses=3, backend="cuml", n_restarts=4, device="cpu")
    )
    assert [len(c.counts) for c in found] == [2, 3, 3]
    assert len(stand_in) == 8
    for call in stand_in:
        assert (call["n_clusters"], call["n_init"], call["max_iter"]) == (3, 1, 100)
        assert isinstance(call["init"], np.ndarray)
    assert not np.array_equal(stand_in[0]["init"], stand_in[1]["init"])


def test_starts_are_rows_of_the_token(stand_in):
    rows = points()[1]
    cluster([rows], [5], SensesConfig(n_senses=3, backend="cuml", n_restarts=2, device="cpu"))
    for call in stand_in:
        assert all((rows == start).all(axis=1).any() for start in call["init"])


def test_the_best_restart_wins(stand_in):
    rows = points()[1]
    found = cluster(
        [rows], [5], SensesConfig(n_senses=3, backend="cuml", n_restarts=6, device="cpu")
    )[0]
    reference = cluster([rows], [5], SensesConfig(n_senses=3, backend="sklearn", n_restarts=10))[0]
    assert found.inertia <= 1.01 * reference.inertia


def test_cuml_and_cupy_run_on_the_gpu_that_is_named_and_not_on_the_first(stand_in, monkeypatch):
    entered = []

    @contextmanager
    def on(device):
        entered.append(str(device))
        yield

    second = torch.device("cuda:1")
    monkeypatch.setattr(cuml_backend, "torch_device", lambda name: second)
    monkeypatch.setattr(torch.cuda, "device", on)
    monkeypatch.setattr(torch.Tensor, "to", lambda values, *_: values)
    fit = cuml_backend._fit
    monkeypatch.setattr(cuml_backend, "_fit", lambda *args: (entered.append("fit"), fit(*args))[1])
    config = SensesConfig(n_senses=3, backend="cuml", n_restarts=2, device="cuda:1")
    config = config.model_copy(update={"coarse_dtype": "float32"})
    cuml_backend.assign(points()[1:], [5, 6], config)
    assert entered == ["cuda:1", "fit", "fit", "fit", "fit"]


def test_the_stand_in_refuses_what_the_real_signature_lacks(stand_in):
    from cuml.cluster import KMeans

    with pytest.raises(TypeError):
        KMeans(handle=None)
    with pytest.raises(TypeError):
        KMeans(3)


def test_an_absent_cuml_is_refused_with_its_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setitem(sys.modules, "cuml", None)
    with pytest.raises(ConfigError, match=r"pip install 'dskd\[gpu\]'"):
        cluster(points(), [4, 5, 6], SensesConfig(n_senses=3, backend="cuml"))
