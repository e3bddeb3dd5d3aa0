"""Nearest senses by an index, and the odd ones out, against naive loops."""

import contextlib

import numpy as np
import pytest

from dskd_core.dictionary.rows import RowReader
from dskd_core.explorer.nearest import N_LIKELY, SenseIndex, nearest_rows, nearest_senses
from dskd_core.explorer.odd import odd_ones
from dskd_core.explorer.opened import OpenDictionary, choose
from dskd_core.progress import silent


@pytest.fixture(scope="module")
def sliced(explored):
    artifact = choose(explored.store)
    opened = OpenDictionary(explored.store, artifact, in_memory_bytes=0)
    with contextlib.closing(opened):
        yield opened


class _Rows:
    """Rows near a few directions, as states are, read as a dictionary's are."""

    def __init__(self, n: int, d: int) -> None:
        rng = np.random.default_rng(0)
        directions = rng.normal(size=(48, d)) * np.linspace(4, 0.5, 48)[:, None]
        self.values = rng.normal(size=(n, 48)) @ directions + 0.5 * rng.normal(size=(n, d))
        self.n_token_rows, self.hidden_size, self.is_checked = n - 5, d, False

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows):
        return self.values[rows].astype(np.float16)

    def blocks(self, stop):
        for start in range(0, stop, 700):
            yield start, self.values[start : min(stop, start + 700)].astype(np.float32)


def test_an_index_finds_nearly_all_of_the_nearest_with_their_exact_distances():
    reader, told = _Rows(3_000, 160), []
    index = SenseIndex(reader, lambda n_done, n_total, unit, **_: told.append((n_done, n_total)))
    assert told == [(n, 3_000) for n in (0, 700, 1_400, 2_100, 2_800)]
    assert reader.is_checked, "rows of composed words were read, too"
    queries = np.arange(0, 2_900, 100)
    is_own = lambda numbers: numbers % 100 == 0  # noqa: E731
    rows, mses = index.nearest(reader.take(queries), 4, is_own)
    exact, _ = nearest_rows(reader, reader.take(queries), 4, is_own)
    assert (rows == exact).mean() > 0.97
    assert not is_own(rows).any()
    assert rows.max() < reader.n_token_rows
    for query, of_query, mse in zip(queries, rows, mses, strict=True):
        gaps = reader.take(of_query).astype(float) - reader.take(query).astype(float)
        np.testing.assert_allclose(mse, (gaps**2).mean(axis=1), rtol=1e-5)


def test_where_all_rows_are_likely_an_index_is_exact(sliced):
    index = SenseIndex(sliced.rows, silent)
    rows = list(range(0, sliced.rows.n_token_rows, 7))
    assert sliced.rows.n_token_rows < N_LIKELY
    by_index = nearest_senses(sliced, rows, index=index)
    exact = nearest_senses(sliced, rows)
    for one, other in zip(by_index, exact, strict=True):
        assert [n.mse for n in one] == pytest.approx([n.mse for n in other], rel=1e-3, abs=1e-4)


def test_rows_that_cannot_be_read_alone_want_no_index(sliced, explored, monkeypatch):
    assert sliced.rows.wants_index
    assert not RowReader(explored.dictionary()).wants_index, "they are in memory"
    monkeypatch.setattr("dskd_core.dictionary.rows.peek_rows", lambda *asked: None)
    assert not RowReader(explored.dictionary(), in_memory_bytes=0).wants_index


def test_an_odd_sense_has_no_relative_among_its_three_nearest_words(sliced):
    looked = odd_ones(sliced, lambda: None, silent)
    found = {odd.row: odd for odd in looked.found}
    n_senses = 0
    for word in sliced.most_frequent(1_000):
        related = {
            pair["neighbour"]
            for pair in sliced.queries.relations(word)
            if pair["row_start"] is not None and pair["row_start"] >= 0
        }
        rows = sliced.rows_of_word(word)
        if not related or rows.start >= sliced.rows.n_token_rows:
            continue
        n_senses += len(rows)
        for row, near in zip(rows, nearest_senses(sliced, list(rows), 3), strict=True):
            names = {n.owner.word or n.owner.text for n in near}
            assert (row in found) == (not names & related), (word, row)
    assert looked.n_senses == n_senses > 0
    assert found, "the miniature's senses are random, so some are odd"
    odd = looked.found[0]
    row = sliced.rows.slice(odd.row, odd.row + 1).astype(float)
    relatives = sliced.related([odd.word])[odd.word]
    least = min(
        ((sliced.rows.slice(r.rows.start, r.rows.stop) - row) ** 2).mean(axis=1).min()
        for r in relatives
        if r.rows
    )
    assert odd.relative_mse == pytest.approx(least, rel=1e-4)
    assert [o.ratio for o in looked.found] == sorted((o.ratio for o in looked.found), reverse=True)


def test_a_blank_token_is_no_neighbour_of_itself(explored):
    with contextlib.closing(OpenDictionary(explored.store, explored.dictionary())) as opened:
        token = next(t for t in opened.counts.tokens.tolist() if t not in opened.word_of_token)
        opened._texts[token] = "\n"
        [found] = nearest_senses(opened, [opened.rows_of_token(token)[0]])
    assert found
    assert all(neighbour.owner.token_id != token for neighbour in found)


def test_the_tokens_of_a_composed_word_are_not_its_neighbours(explored, sliced):
    [*rows] = sliced.rows_of_word("river water")
    tokens = sliced.queries.spelling("river water")["token_ids"]
    assert rows[0] >= sliced.rows.n_token_rows
    assert len(tokens) > 1
    index = SenseIndex(sliced.rows, silent)
    for found in (nearest_senses(sliced, rows, 20), nearest_senses(sliced, rows, 20, index)):
        for near in found:
            assert len(near) == 20
            assert not {neighbour.owner.token_id for neighbour in near} & set(tokens)
