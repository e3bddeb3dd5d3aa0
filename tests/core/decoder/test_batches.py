import numpy as np

from dskd_core.corpus.store import load_windows
from dskd_core.decoder.batches import padded, plan_batches


def test_no_batch_exceeds_its_tokens_padding_included():
    lengths = np.random.default_rng(0).integers(1, 50, 200)
    batches = plan_batches(lengths, np.arange(200), 120)
    assert sorted(np.concatenate(batches)) == list(range(200))
    assert all(lengths[b].max() * len(b) <= 120 for b in batches)


def test_a_window_longer_than_a_batch_gets_its_own():
    assert [b.tolist() for b in plan_batches(np.array([5, 90]), np.arange(2), 10)] == [[1], [0]]


def test_windows_are_padded_on_the_right_after_the_prefix():
    assert padded([np.array([5, 6, 7]), np.array([8])], [1]).tolist() == [
        [1, 5, 6, 7],
        [1, 8, 0, 0],
    ]


def test_the_next_token_of_a_window_s_last_is_the_next_window_s_first(miniature):
    windows = load_windows(miniature.corpus())
    number = int(np.flatnonzero(np.diff(windows.documents) == 0)[0])
    assert windows.next_tokens(number)[-1] == windows.window(number + 1)[0]
    assert windows.next_tokens(number)[:-1].tolist() == windows.window(number)[1:].tolist()


def test_the_last_token_of_a_document_has_no_next(miniature):
    windows = load_windows(miniature.corpus())
    number = int(np.flatnonzero(np.diff(windows.documents))[0])
    assert windows.next_tokens(number)[-1] == -1
    assert windows.next_tokens(windows.n_windows - 1)[-1] == -1
