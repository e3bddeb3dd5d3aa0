"""States of words against the model run by hand, one text at a time."""

import numpy as np
import pytest
import torch

from dskd_core.decoder.decoder import load_teacher
from dskd_core.decoder.tokenizer import load_tokenizer
from dskd_core.evaluation.word_senses.items import Context
from dskd_core.evaluation.word_senses.states import spelled, word_states

TEXT = "the zebra garden was near a bank of stone"


@pytest.fixture(scope="module")
def loaded(miniature):
    teacher = miniature.teacher()
    return load_teacher(teacher, miniature.config.teacher), load_tokenizer(teacher.folder())


def context(word, text=TEXT):
    start = text.index(word)
    return Context(word, text, start, start + len(word))


def by_hand(decoder, tokenizer, word, shift):
    """Mean over the word's tokens of the state ``shift`` places from each, from the whole text."""
    ids = tokenizer.encode(TEXT)
    ends = [len(tokenizer.decode(ids[: n + 1])) for n in range(len(ids))]
    start = TEXT.index(word)
    own = [n for n, end in enumerate(ends) if start < end <= start + len(word)]
    assert own, "the tokenizer cuts at the ends of words"
    with torch.no_grad():
        states = decoder.model.base_model(torch.tensor([ids])).last_hidden_state[0]
    return np.mean([states[n + shift].numpy() for n in own], axis=0), len(own)


@pytest.mark.parametrize(("place", "shift"), [("before", -1), ("at", 0)])
def test_a_word_is_the_mean_of_the_states_before_its_tokens_or_at_them(loaded, place, shift):
    decoder, tokenizer = loaded
    words = ["garden", "bank", "zebra", "stone"]
    found = word_states(
        decoder, tokenizer, [context(w) for w in words], place=place, batch_tokens=40
    )
    n_tokens = []
    for word, state in zip(words, found, strict=True):
        expected, n = by_hand(decoder, tokenizer, word, shift)
        n_tokens.append(n)
        np.testing.assert_allclose(state, expected, atol=1e-4)
    assert max(n_tokens) >= 2, "a word of several tokens is among them"


def test_nothing_stands_before_the_first_word_of_a_text(loaded):
    decoder, tokenizer = loaded
    assert tokenizer.prefix == []
    words = [context("the"), context("bank")]
    found = word_states(decoder, tokenizer, words, place="before", batch_tokens=64)
    assert np.isnan(found[0]).all()
    assert not np.isnan(found[1]).any()
    assert not np.isnan(
        word_states(decoder, tokenizer, words, place="at", batch_tokens=64)
    ).any()  # fmt: skip


def test_of_a_long_text_its_end_is_read(loaded):
    decoder, tokenizer = loaded
    (whole,) = spelled(tokenizer, [context("stone")])
    assert len(whole.token_ids) > 8
    cut = word_states(decoder, tokenizer, [context("stone")], place="at", batch_tokens=8)
    with torch.no_grad():
        ids = torch.from_numpy(whole.token_ids[-8:])[None]
        states = decoder.model.base_model(ids).last_hidden_state[0]
    own = [place - (len(whole.token_ids) - 8) for place in whole.own]
    np.testing.assert_allclose(cut[0], states[own].mean(dim=0).numpy(), atol=1e-4)


def test_batches_do_not_change_a_state(loaded):
    decoder, tokenizer = loaded
    contexts = [context(w) for w in ("garden", "bank", "stone", "near")]
    one, many = (
        word_states(decoder, tokenizer, contexts, place="before", batch_tokens=n) for n in (40, 400)
    )
    np.testing.assert_allclose(one, many, atol=1e-4)
