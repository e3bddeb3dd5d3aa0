import numpy as np
import pytest

from dskd_core.config import CorpusConfig, EmbeddingsConfig
from dskd_core.corpus.store import load_windows
from dskd_core.decoder.tokenizer import load_tokenizer
from dskd_core.errors import ConfigError
from dskd_core.planning.census import LAWS, TokenCounts, census_of, counted, estimated, read_windows


@pytest.mark.parametrize("key", LAWS)
def test_shares_fall_with_the_rank_and_sum_to_one(key):
    shares = LAWS[key].shares(50_000)
    assert shares.sum() == pytest.approx(1.0)
    assert (np.diff(shares) < 0).all()


def test_expected_rows_are_the_mean_of_counts_that_are_drawn():
    rates = np.array([0.1, 0.7, 2.0, 9.0])
    drawn = np.random.default_rng(0).poisson(rates, (200_000, 4))
    census = TokenCounts(rates * 1000, "a law", exact=False)
    assert census.rows(10_000) == int((rates * 1000).sum())
    for limit in (1, 3, 5):
        expected = np.minimum(drawn, limit).mean(axis=0).sum()
        many = TokenCounts(np.repeat(rates, 1000), "a law", exact=False)
        assert many.rows(limit) == pytest.approx(1000 * expected, rel=0.01)


def test_counts_are_those_of_the_next_tokens_of_training_windows(nexted):
    windows = load_windows(nexted.corpus())
    census = census_of(counted(windows, "here"), EmbeddingsConfig(key="next"), 400)
    found: dict[int, int] = {}
    for document in np.unique(windows.documents[~windows.heldout]):
        for token in windows.document(int(document)).tolist()[1:]:
            found[token] = found.get(token, 0) + 1
    assert sorted(census.occurrences.astype(int)) == sorted(found.values())
    assert census.rows(3) == sum(min(n, 3) for n in found.values())


def test_counting_a_source_gives_what_the_corpus_stage_gives(nexted):
    tokenizer = load_tokenizer(nexted.teacher().folder())
    read = read_windows(nexted.config.corpus, tokenizer)
    built = load_windows(nexted.corpus())
    for name in ("token_ids", "offsets", "documents", "starts", "heldout", "document_hashes"):
        np.testing.assert_array_equal(getattr(read, name), getattr(built, name))


def test_a_local_corpus_is_estimated_from_its_bytes_and_bounded_by_max_tokens(tmp_path):
    (tmp_path / "a.txt").write_text("x" * 44_000)
    config = CorpusConfig(source=str(tmp_path), window_tokens=101, heldout_share=0.1)
    found = estimated(config, None, n_prefix=1)
    assert found.n_tokens == 10_000
    assert found.n_heldout_tokens == 1000
    assert found.n_documents == 14
    assert found.n_windows == 100 + 7
    bounded = config.model_copy(update={"max_tokens": 500})
    assert estimated(bounded, None, n_prefix=1).n_tokens == 500


def test_a_dataset_of_unknown_size_is_refused_with_a_cure():
    config = CorpusConfig(source="hf:somebody/something", format="dataset")
    with pytest.raises(ConfigError, match="--tokens"):
        estimated(config, None, n_prefix=0)
    assert estimated(config, 5000, n_prefix=0).n_tokens == 5000
