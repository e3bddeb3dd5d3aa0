"""Bands of frequency, against naive loops."""

import numpy as np
import pytest

from dskd_core.corpus.store import Windows
from dskd_core.evaluation.heldout.frequency import BANDS, band_sums, next_tokens_of

N_TOKENS = 300


def naive_band(n):
    return "unseen" if n < 1 else "1_to_10" if n < 11 else "11_to_100" if n < 101 else "over_100"


def test_every_position_is_in_the_band_of_its_next_token():
    rng = np.random.default_rng(0)
    counts = rng.choice([0, 1, 2, 9, 10, 11, 50, 100, 101, 5000], size=N_TOKENS)
    labels, ce = rng.integers(0, N_TOKENS, 2000), rng.random(2000)
    expected = {band.name: [0, 0.0] for band in BANDS}
    for label, value in zip(labels, ce, strict=True):
        band = expected[naive_band(counts[label])]
        band[0] += 1
        band[1] += value
    found = band_sums(labels, ce, counts)
    assert all(n > 100 for n, _ in expected.values())
    for name, (n, total) in expected.items():
        assert found[f"n_{name}"] == n
        assert found[f"ce_{name}"] == pytest.approx(total)


def test_next_tokens_cross_windows_and_never_documents():
    rng = np.random.default_rng(1)
    lengths, documents = [3, 3, 1, 4, 2, 5], [0, 0, 0, 1, 2, 2]
    windows = Windows(
        token_ids=rng.integers(0, 9, sum(lengths)).astype(np.int32),
        offsets=np.concatenate(([0], np.cumsum(lengths))),
        documents=np.array(documents, np.int32),
        starts=np.zeros(6, np.int32),
        heldout=np.zeros(6, bool),
        document_hashes=np.arange(3, dtype=np.uint64),
        prefix=(),
    )
    for chosen in ([0, 1, 2, 3, 4, 5], [1, 3], [0, 5], [2]):
        naive = [t for w in chosen for t in windows.next_tokens(w).tolist() if t >= 0]
        assert next_tokens_of(windows, np.array(chosen)).tolist() == naive
