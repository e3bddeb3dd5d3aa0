import numpy as np

from dskd_core.dictionary.neighbours import Csr
from dskd_core.dictionary.store import Dictionary
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
