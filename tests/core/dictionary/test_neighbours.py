import numpy as np

from dskd_core.dictionary.neighbours import Csr, neighbour_rows, own_rows


def test_own_rows_are_consecutive_and_tokens_without_senses_have_none():
    own = own_rows(np.array([1, 3], dtype=np.int32), np.array([0, 2, 5]), n_tokens=5)
    assert [own.rows_of(t).tolist() for t in range(5)] == [[], [0, 1], [], [2, 3, 4], []]


def test_rows_of_neighbours_keep_their_order_and_never_hold_an_own_sense():
    own = Csr(np.array([0, 2, 4]), np.arange(4))
    links = neighbour_rows(
        np.array([0, 1, 0]), np.array([7, 2, 1]), np.array([9, 5, 3]), own, n_tokens=2
    )
    assert links.rows_of(0).tolist() == [7, 8, 2]  # 1 is a sense of token 0 itself
    assert links.rows_of(1).tolist() == [4]  # 2 and 3 are senses of token 1 itself


def test_no_links_give_empty_lists():
    empty = np.array([], dtype=np.int64)
    own = Csr(np.array([0, 1, 1]), np.arange(1))
    assert neighbour_rows(empty, empty, empty, own, n_tokens=2).offsets.tolist() == [0, 0, 0]
