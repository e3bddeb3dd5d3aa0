from collections import defaultdict

import numpy as np
import pytest

from dskd_core.config import EmbeddingsConfig
from dskd_core.corpus.store import Windows, load_windows
from dskd_core.embeddings import census as module
from dskd_core.embeddings.census import take_census
from dskd_core.embeddings.sampling import OPEN, occurrence_hashes


def _naive(windows: Windows, key: str, seed: int) -> dict[int, list[tuple[int, int, int]]]:
    """Return token -> sorted (hash, window, offset) of its training occurrences, one by one."""
    found = defaultdict(list)
    for number in np.flatnonzero(~windows.heldout).tolist():
        document, start = int(windows.documents[number]), int(windows.starts[number])
        text = windows.document(document).tolist()
        for offset in range(len(windows.window(number))):
            at = start + offset + (key == "next")
            if at < len(text):
                keys = windows.document_hashes[document : document + 1]
                value = int(occurrence_hashes(keys, np.array([start + offset]), seed)[0])
                found[text[at]].append((value, number, offset))
    return {token: sorted(places) for token, places in found.items()}


@pytest.fixture
def windows(miniature) -> Windows:
    return load_windows(miniature.corpus())


@pytest.mark.parametrize("key", ["next", "input"])
@pytest.mark.parametrize("cap", [1, 5, 10_000])
@pytest.mark.parametrize("piece_tokens", [40, 1 << 22])
def test_the_census_is_the_sample_that_sorting_every_occurrence_gives(
    windows, monkeypatch, key, cap, piece_tokens
):
    monkeypatch.setattr(module, "_PIECE_TOKENS", piece_tokens)
    census = take_census(windows, EmbeddingsConfig(key=key, max_occurrences=cap, seed=3))
    expected = _naive(windows, key, 3)
    lengths = np.zeros(windows.n_windows, dtype=int)
    for token, places in expected.items():
        assert census.counts[token] == len(places)
        hashes = np.array([value for value, _, _ in places], dtype=np.uint64)
        admitted = census.admits(np.full(len(places), token), hashes)
        assert admitted.tolist() == [rank < cap for rank in range(len(places))]
        for _, number, offset in places[:cap]:
            lengths[number] = max(lengths[number], offset + 1)
    assert census.lengths.tolist() == lengths.tolist()
    assert census.exact


def test_a_guess_that_held_too_few_hashes_is_made_good(windows, monkeypatch):
    config = EmbeddingsConfig(key="next", max_occurrences=5)
    wanted = take_census(windows, config).limits
    monkeypatch.setattr(module, "share_limits", lambda shares: np.zeros(len(shares), np.uint64))
    np.testing.assert_array_equal(take_census(windows, config).limits, wanted)


def test_a_small_cap_leaves_windows_out_and_cuts_others(windows):
    lengths = take_census(windows, EmbeddingsConfig(key="next", max_occurrences=1)).lengths
    training = ~windows.heldout
    assert (lengths[training] == 0).any()
    assert ((lengths > 0) & (lengths < windows.lengths)).any()
    assert (lengths[windows.heldout] == 0).all()


def test_a_predicted_token_s_limit_is_a_share_of_the_hashes(windows):
    config = EmbeddingsConfig(key="predicted", max_occurrences=4, safety=2.0)
    census = take_census(windows, config)
    counts = {token: len(places) for token, places in _naive(windows, "next", 0).items()}
    assert max(counts.values()) > 8
    for token, count in counts.items():
        share = int(census.limits[token]) / 2**64
        assert share == pytest.approx(min(1.0, 8 / count), rel=1e-9)
    assert census.lengths.tolist() == np.where(windows.heldout, 0, windows.lengths).tolist()
    assert not census.exact


def test_a_token_that_the_text_never_has_knows_no_limit(windows):
    census = take_census(windows, EmbeddingsConfig(max_occurrences=1))
    unseen = np.array([len(census.limits), len(census.limits) + 50])
    assert census.admits(unseen, np.array([OPEN, OPEN])).all()
