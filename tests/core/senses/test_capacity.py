from dataclasses import dataclass, field

import numpy as np
import pytest

from dskd_core import interruption
from dskd_core.config import SensesConfig
from dskd_core.errors import CapacityError
from dskd_core.interruption import Interrupted
from dskd_core.senses import batching
from dskd_core.senses.batching import check_memory
from dskd_core.senses.kmeans import cluster


@dataclass
class Reader:
    hidden_size: int = 100
    n_rows: np.ndarray = field(default_factory=lambda: np.array([3, 1024]))


def test_the_restarts_of_one_token_that_the_device_cannot_hold_are_refused(monkeypatch):
    # Rows: 1024 of 100 values in 4 + 2 bytes and 14 for each of 10 * 5 centroids' scores.
    # Centroids: 10 * 5 of 100 values in 10 bytes.
    needed = 1024 * (600 + 14 * 50) + 50 * 1000
    config = SensesConfig(n_senses=5, n_restarts=10, device="cpu")
    monkeypatch.setattr(batching, "memory_bytes", lambda _device: needed)
    check_memory(config, Reader())
    monkeypatch.setattr(batching, "memory_bytes", lambda _device: needed - 1)
    with pytest.raises(CapacityError, match=r"token of 1,024 .*10 restarts .*of 5 senses.*; lower"):
        check_memory(config, Reader())
    check_memory(config.model_copy(update={"backend": "sklearn"}), Reader())


@pytest.mark.parametrize("backend", ["torch", "sklearn"])
def test_clustering_ends_when_its_run_is_asked_to_stop(backend):
    rows = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    interruption.request()
    try:
        with pytest.raises(Interrupted):
            cluster([rows], [1], SensesConfig(n_senses=3, backend=backend, device="cpu"))
    finally:
        interruption.clear()
