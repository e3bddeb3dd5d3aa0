"""The paper on sampling: which states are kept and under which token they are filed."""

import numpy as np
import pytest
import torch

from dskd_core.config import EmbeddingsConfig
from dskd_core.corpus.store import load_windows
from dskd_core.decoder.decoder import load_teacher
from dskd_core.embeddings.census import take_census
from dskd_core.embeddings.readers import load_embeddings
from dskd_core.embeddings.sampling import occurrence_hashes


def test_states_are_filed_under_the_teacher_s_argmax_by_default():
    assert EmbeddingsConfig().key == "predicted"


def test_at_most_two_thousand_occurrences_of_a_token_by_default():
    assert EmbeddingsConfig().max_occurrences == 2000


def test_a_state_at_t_is_filed_under_what_the_teacher_predicts_for_t_plus_1(miniature):
    embeddings = load_embeddings(miniature.embeddings(), miniature.store)
    windows = load_windows(miniature.corpus())
    teacher = load_teacher(miniature.teacher(), miniature.config.teacher)
    rows = embeddings.read(0, 5)
    tokens = np.repeat(rows.tokens, np.diff(rows.offsets))
    for token, document, position in zip(tokens, rows.documents, rows.positions, strict=True):
        window = np.flatnonzero((windows.documents == document) & (windows.starts <= position))[-1]
        ids = torch.tensor(windows.window(int(window)).tolist())[None]
        with torch.no_grad():
            logits = teacher.model(ids).logits[0, position - windows.starts[window]]
        assert int(logits[: teacher.n_tokens].argmax()) == token


def test_special_tokens_have_no_senses(miniature):
    embeddings = load_embeddings(miniature.embeddings(), miniature.store)
    assert not {0, 1} & set(embeddings.tokens.tolist())


def test_every_row_knows_its_document_and_position(miniature):
    embeddings = load_embeddings(miniature.embeddings(), miniature.store)
    rows = embeddings.read(0, len(embeddings.tokens))
    documents = miniature.corpus().table("documents.parquet").to_pylist()
    lengths = {row["document"]: row["n_tokens"] for row in documents}
    places = list(zip(rows.documents.tolist(), rows.positions.tolist(), strict=True))
    assert len(set(places)) == len(places)
    assert all(0 <= position < lengths[document] for document, position in places)


@pytest.mark.parametrize("key", ["next", "input"])
def test_the_token_ids_alone_decide_which_occurrences_are_kept(miniature, key):
    """METHOD 7.7: slots are known before the teacher starts; windows end at their last one."""
    windows = load_windows(miniature.corpus())
    config = EmbeddingsConfig(key=key, max_occurrences=3)
    census = take_census(windows, config)
    n_kept, last_kept = np.zeros_like(census.counts), np.zeros(windows.n_windows, dtype=int)
    for number in np.flatnonzero(~windows.heldout).tolist():
        ids = windows.window(number)
        tokens = ids.astype(np.int64) if key == "input" else windows.next_tokens(number)
        document = np.full(len(ids), windows.documents[number])
        places = windows.starts[number] + np.arange(len(ids))
        hashes = occurrence_hashes(windows.document_hashes[document], places, config.seed)
        kept = np.flatnonzero((tokens >= 0) & census.admits(np.maximum(tokens, 0), hashes))
        np.add.at(n_kept, tokens[kept], 1)
        last_kept[number] = kept.max(initial=-1) + 1
    np.testing.assert_array_equal(n_kept, np.minimum(census.counts, 3))
    np.testing.assert_array_equal(census.lengths, last_kept)


def test_a_predicted_token_s_limit_lets_safety_times_the_cap_through(miniature):
    """METHOD 7.7: a threshold on the hash per token, set from the expected counts."""
    windows = load_windows(miniature.corpus())
    config = EmbeddingsConfig(max_occurrences=3, safety=4.0)
    census = take_census(windows, config)
    common = census.counts > 12
    expected = census.counts[common] * (census.limits[common] / 2.0**64)
    np.testing.assert_allclose(expected, 12.0)
    assert (census.limits[~common] == 2**64 - 1).all()
