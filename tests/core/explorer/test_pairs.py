"""Distances between words, and which pairs the states contradict, against naive loops."""

import contextlib

import numpy as np
import pytest

from dskd_core.explorer.nearest import nearest_rows, nearest_senses
from dskd_core.explorer.opened import OpenDictionary, choose
from dskd_core.explorer.pairs import contradictions, distances, read_pair


@pytest.fixture(scope="module")
def opened(explored):
    with contextlib.closing(OpenDictionary(explored.store, choose(explored.store))) as opened:
        yield opened


def test_distances_are_those_of_a_naive_loop():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(3, 7)), rng.normal(size=(2, 7))
    mse, cosine = distances(one, other)
    for i, x in enumerate(one):
        for j, y in enumerate(other):
            assert mse[i, j] == pytest.approx(((x - y) ** 2).sum() / 7)
            assert cosine[i, j] == pytest.approx(x @ y / np.sqrt((x @ x) * (y @ y)))


def test_the_nearest_senses_are_those_of_a_naive_search_and_of_other_words(opened):
    [row, *_] = opened.rows_of_word("light")
    found = nearest_senses(opened, [row])[0]
    rows = opened.rows.slice(0, opened.rows.n_token_rows).astype(np.float64)
    mse = ((rows - rows[row]) ** 2).mean(axis=1)
    others = [
        r
        for r in np.argsort(mse, kind="stable")
        if opened.text_of(opened.owner(int(r)).token_id).strip().lower() != "light"
    ]
    assert [n.row for n in found] == others[:4]
    assert [n.mse for n in found] == pytest.approx(mse[others[:4]].tolist(), rel=1e-4, abs=1e-5)


def test_rows_read_block_by_block_are_those_in_memory(explored, opened):
    from dskd_core.dictionary.rows import RowReader

    sliced = RowReader(explored.dictionary(), in_memory_bytes=0)
    wanted = np.array([5, 0, len(opened.rows) - 1, 5])
    np.testing.assert_array_equal(sliced.take(wanted), opened.rows.take(wanted))
    nobody = lambda numbers: np.zeros(len(numbers), bool)  # noqa: E731
    senses = opened.rows.slice(0, 3)
    for a, b in zip(
        nearest_rows(sliced, senses, 3, nobody),
        nearest_rows(opened.rows, senses, 3, nobody),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_a_contradicted_pair_is_a_synonym_farther_than_an_antonym(opened):
    looked = contradictions(opened)
    expected = set()
    for word in opened.most_frequent(100):
        tokens = set(opened.queries.spelling(word)["token_ids"])
        related = [
            pair
            for pair in opened.queries.relations(word)
            if not tokens
            & set((opened.queries.spelling(pair["neighbour"]) or {"token_ids": []})["token_ids"])
        ]
        least = {
            (p["relation"], p["neighbour"]): distances(
                opened.rows.slice(*bounds(opened, word)),
                opened.rows.slice(*bounds(opened, p["neighbour"])),
            )[0].min()
            for p in related
            if (p["row_start"] if p["row_start"] is not None else -1) >= 0
        }
        antonyms = [mse for (relation, _), mse in least.items() if relation == "antonym"]
        expected |= {
            (word, name)
            for (relation, name), mse in least.items()
            if relation == "synonym" and antonyms and mse > min(antonyms)
        }
    assert {(c.word, c.synonym) for c in looked.found} == expected
    assert all(c.ratio > 1 for c in looked.found)


def bounds(opened, word):
    rows = opened.rows_of_word(word)
    return rows.start, rows.stop


def test_a_pair_made_by_negation_says_from_what(opened):
    pair = read_pair(opened, "Kind", "happy")
    assert pair.relation == "synonym"
    assert pair.mse.shape == (len(opened.rows_of_word("kind")), len(opened.rows_of_word("happy")))
    assert not read_pair(opened, "kind", "friendly").relation, "the exclude list struck it out"
