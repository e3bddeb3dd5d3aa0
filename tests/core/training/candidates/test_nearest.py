from types import SimpleNamespace

import numpy as np
import pytest

from dskd_core.dictionary.neighbours import Csr
from dskd_core.dictionary.store import Dictionary
from dskd_core.errors import CapacityError
from dskd_core.training.candidates import store
from dskd_core.training.candidates.nearest import nearest_rows


def _dictionary(n_tokens=6, n_rows=40, d=5):
    rng = np.random.default_rng(0)
    lists = []
    for _ in range(3):
        offsets = np.concatenate(([0], np.cumsum(rng.integers(0, 7, n_tokens))))
        lists.append(Csr(offsets, rng.integers(0, n_rows, int(offsets[-1]))))
    return Dictionary(rng.normal(size=(n_rows, d)).astype(np.float16), *lists, "fingerprint")


def test_candidates_are_the_kappa_nearest_to_the_teacher_by_a_naive_loop():
    dictionary = _dictionary()
    rng = np.random.default_rng(1)
    states, labels = rng.normal(size=(50, 5)).astype(np.float32), rng.integers(-1, 6, 50)
    found = nearest_rows(states, labels, dictionary, n_candidates=3)
    for state, label, ps, ns, push in zip(
        states, labels, found.positives, found.negatives, found.push, strict=True
    ):
        if label < 0:
            assert set(ps) == set(ns) == {-1}
            continue
        rows = dictionary.rows.astype(np.float64)
        for chosen, candidates in (
            (ps, np.append(dictionary.own.rows_of(label), dictionary.synonyms.rows_of(label))),
            (ns, dictionary.antonyms.rows_of(label)),
        ):
            distances = sorted(np.linalg.norm(state - rows[c]) for c in candidates)[:3]
            found_here = [np.linalg.norm(state - rows[c]) for c in chosen if c >= 0]
            np.testing.assert_allclose(found_here, distances, rtol=1e-4)
        for row, value in zip(ns, push, strict=True):
            if row >= 0:
                np.testing.assert_allclose(value, np.mean((state - rows[row]) ** 2), rtol=1e-3)


def test_more_candidates_than_the_dictionary_has_rows_or_memory_holds_are_refused(monkeypatch):
    activations = SimpleNamespace(record=SimpleNamespace(counts={"positions": 100}))
    monkeypatch.setattr(store, "memory_bytes", lambda _device: 8 * 5 * 100)
    store.check_candidates(5, 5, activations)
    with pytest.raises(CapacityError, match=r"n_candidates 6 is more than the 5 rows"):
        store.check_candidates(6, 5, activations)
    with pytest.raises(CapacityError, match=r"n_candidates 6 takes .* for 100 positions"):
        store.check_candidates(6, 50, activations)
