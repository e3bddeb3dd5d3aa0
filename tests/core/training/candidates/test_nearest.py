from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dskd_core.dictionary.neighbours import Csr
from dskd_core.dictionary.store import Dictionary
from dskd_core.errors import CapacityError
from dskd_core.training.candidates import nearest, store
from dskd_core.training.candidates.nearest import for_ranking, nearest_on_device, nearest_rows


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
        states, labels, found.positives, found.negatives, found.antonym_mse, strict=True
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


def test_what_antonyms_are_ranked_after_are_synonyms_or_else_own_senses():
    dictionary = _dictionary(n_tokens=40)
    ranked = for_ranking(dictionary)
    kinds = set()
    for token in range(40):
        lists = (dictionary.own, dictionary.synonyms, dictionary.antonyms)
        own, synonyms, antonyms = (one.rows_of(token).tolist() for one in lists)
        expected = (synonyms or own) if antonyms else []
        found = [*ranked.own.rows_of(token), *ranked.synonyms.rows_of(token)]
        assert found == expected
        assert not len(ranked.antonyms.rows_of(token))
        kinds.add((bool(own), bool(synonyms), bool(antonyms)))
    assert {(True, True, True), (True, False, True), (True, True, False)} <= kinds


def test_more_candidates_than_the_dictionary_has_rows_or_memory_holds_are_refused(monkeypatch):
    activations = SimpleNamespace(record=SimpleNamespace(counts={"positions": 100}))
    monkeypatch.setattr(store, "memory_bytes", lambda _device: 8 * 5 * 100)
    store.check_candidates(5, 5, activations)
    with pytest.raises(CapacityError, match=r"n_candidates 6 is more than the 5 rows"):
        store.check_candidates(6, 5, activations)
    with pytest.raises(CapacityError, match=r"n_candidates 6 takes .* for 100 positions"):
        store.check_candidates(6, 50, activations)


def _on_device(states, labels, dictionary, n_candidates):
    return nearest_on_device(
        torch.from_numpy(states),
        labels,
        dictionary,
        torch.from_numpy(dictionary.rows),
        n_candidates=n_candidates,
    )


@pytest.mark.parametrize("n_candidates", [1, 3, 30])
@pytest.mark.parametrize("block_bytes", [1, 700, 1 << 20])
def test_on_the_device_the_same_rows_are_found_and_equal_distances_keep_their_order(
    n_candidates, block_bytes, monkeypatch
):
    monkeypatch.setitem(nearest._BLOCK_BYTES, "cpu", block_bytes)
    rng, plain = np.random.default_rng(2), _dictionary(n_tokens=12)
    # Small whole numbers: both functions are exact, and many distances are equal.
    dictionary = replace(plain, rows=rng.integers(-1, 2, plain.rows.shape).astype(np.float16))
    states = rng.integers(-1, 2, (60, 5)).astype(np.float32)
    labels = rng.choice([-100, -1, *range(12)], 60)
    expected = nearest_rows(states, labels, dictionary, n_candidates=n_candidates)
    found = _on_device(states, labels, dictionary, n_candidates)
    assert found.positives.tolist() == expected.positives.tolist()
    assert found.negatives.tolist() == expected.negatives.tolist()
    opposed = np.flatnonzero((expected.negatives >= 0).any(axis=1))
    assert found.opposed.tolist() == opposed.tolist()
    assert 0 < len(opposed) < (labels >= 0).sum()


@pytest.mark.parametrize("labels", [[], [-1, -1]])
def test_positions_without_a_label_have_no_candidates_on_the_device(labels):
    states = np.zeros((len(labels), 5), dtype=np.float32)
    found = _on_device(states, np.array(labels, dtype=np.int64), _dictionary(), 3)
    assert found.positives.tolist() == found.negatives.tolist() == [[-1] * 3] * len(labels)
    assert found.opposed.tolist() == []


def test_half_precision_states_are_compared_in_single_precision():
    rng, dictionary = np.random.default_rng(3), _dictionary(d=64)
    states = torch.from_numpy(rng.normal(size=(40, 64))).bfloat16()
    labels = rng.integers(0, 6, 40)
    expected = nearest_rows(states.float().numpy(), labels, dictionary, n_candidates=3)
    found = nearest_on_device(
        states, labels, dictionary, torch.from_numpy(dictionary.rows), n_candidates=3
    )
    assert found.positives.tolist() == expected.positives.tolist()
