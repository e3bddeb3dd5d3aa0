import threading

import numpy as np
import pytest

from dskd_core.config import SensesConfig
from dskd_core.embeddings.readers import TokenRows
from dskd_core.errors import DataError
from dskd_core.senses.batching import cluster_rows, read_ahead
from dskd_core.shards import Shard


class Reader:
    """Seven tokens of ten rows of four numbers; it says when a read begins."""

    hidden_size = 4
    n_rows = np.full(7, 10)

    def __init__(self):
        self.begun = [threading.Event() for _ in range(7)]
        self.threads = set()

    def read(self, start, stop):
        self.threads.add(threading.get_ident())
        self.begun[start].set()
        states = np.repeat(np.arange(start, stop, dtype=np.float32), 10)[:, None] * np.ones(4)
        offsets = 10 * np.arange(stop - start + 1)
        return TokenRows(np.arange(start, stop), offsets, states.astype(np.float32), None, None)


def test_the_next_piece_is_read_while_one_is_used():
    reader = Reader()
    for number, _ in enumerate(read_ahead(reader, Shard(0, 1, 1, 6), 10 * 4 * 4), start=1):
        if number < 5:
            assert reader.begun[number + 1].wait(timeout=10)
        assert not any(event.is_set() for event in reader.begun[number + 2 :])
    assert number == 5
    assert threading.get_ident() not in reader.threads


@pytest.mark.parametrize("batch_bytes", [1, 159, 160, 479, 480, 10_000])
def test_pieces_are_the_range_in_order_and_keep_their_budget(batch_bytes):
    pieces = list(read_ahead(Reader(), Shard(0, 1, 2, 7), batch_bytes))
    assert np.concatenate([p.tokens for p in pieces]).tolist() == [2, 3, 4, 5, 6]
    assert all(p.states.nbytes <= max(160, batch_bytes) for p in pieces)


def test_an_empty_range_has_no_pieces():
    assert list(read_ahead(Reader(), Shard(0, 1, 3, 3), 1000)) == []


@pytest.mark.parametrize("backend", ["torch", "sklearn", "cuml"])
@pytest.mark.parametrize("price", [None, 1.0])
def test_a_nan_is_refused_with_the_shards_name_by_every_backend(backend, price):
    rows = Reader().read(0, 3)
    rows.states[14, 2] = np.nan
    with pytest.raises(DataError, match="In the senses shard 3-of-8: Row 4 of token 1 has a NaN"):
        cluster_rows(rows, SensesConfig(backend=backend), Shard(3, 8, 0, 3), price)
