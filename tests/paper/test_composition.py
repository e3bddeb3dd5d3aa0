"""The paper on senses of words of several tokens (Eq. 2)."""

import numpy as np
import pytest

from dskd_core.config import WordsConfig
from dskd_core.dictionary.composition import compose


def test_neighbours_have_at_most_three_tokens_by_default():
    assert WordsConfig().max_span == 3


def test_a_later_token_gives_each_row_its_nearest_sense():
    centroids = np.array([[0.0, 0.0], [10.0, 0.0], [1.0, 1.0], [9.0, -1.0]], dtype=np.float32)
    composed = compose(centroids, np.array([0, 2, 4]), np.array([[0, 1]]))[0]
    np.testing.assert_allclose(composed, [[0.5, 0.5], [9.5, -0.5]])


def test_a_word_has_as_many_senses_as_its_first_token():
    centroids = np.arange(5, dtype=np.float32)[:, None]
    composed = compose(centroids, np.array([0, 1, 5]), np.array([[0, 1]]))
    assert composed.shape == (1, 1, 1)


@pytest.mark.parametrize("span", [1, 2, 3, 4])
def test_identical_tokens_compose_to_themselves(span):
    centroids = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    composed = compose(centroids, np.array([0, 4]), np.zeros((1, span), dtype=np.int64))
    np.testing.assert_allclose(composed[0], centroids, atol=1e-6)


def test_a_word_one_of_whose_tokens_has_no_senses_is_left_out_and_counted(miniature):
    dictionary, words = miniature.dictionary(), miniature.words()
    inventory = set(miniature.senses().group("senses.zarr")["tokens"][...].tolist())
    missing = {
        row["word"]
        for row in words.table("spellings.parquet").to_pylist()
        if not set(row["token_ids"]) <= inventory
    }
    rows = dictionary.table("words.parquet").to_pylist()
    assert missing
    assert {row["word"] for row in rows if row["row_start"] < 0} == missing
    assert dictionary.record.counts["words_without_senses"] == len(missing)
