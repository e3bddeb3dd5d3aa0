import numpy as np
import pytest
import torch

from dskd_core.decoder.head import find_head
from dskd_core.evaluation.benchmarks.harness.likelihoods import ContinuationScorer
from dskd_core.evaluation.benchmarks.harness.sharing import can_share, plan_shared
from dskd_core.evaluation.benchmarks.layout import Requests
from tests.core.prompts.test_answers import make_model

RNG = np.random.default_rng(0)


def tokens(n):
    return RNG.integers(2, 52, size=n).astype(np.int32)


def joined(*parts):
    return np.concatenate(parts).astype(np.int32)


def mixed():
    """Items with a header in common, items with four long choices, items alone."""
    header = tokens(30)
    ids, continuations = [], []
    for n in (5, 9, 3, 7, 4):  # four single-token choices
        question = joined(header, tokens(n))
        ids.append([joined(question, [label]) for label in (7, 8, 9, 10)])
        continuations.append([1] * 4)
    for n in (25, 40, 33):
        context = tokens(n)
        choices = [tokens(k) for k in (3, 6, 1, 4)]
        ids.append([joined(context, choice) for choice in choices])
        continuations.append([3, 6, 1, 4])
    for n in (12, 3):
        ids.append([joined(tokens(n), tokens(2))])
        continuations.append([2])
    return Requests(ids, continuations, [])


def by_hand(model, row, n):
    """Run the whole text and take the continuation's log-probabilities."""
    with torch.no_grad():
        table = model.model(torch.tensor([row[:-1].tolist()])).logits[0].double().log_softmax(-1)
    labels = torch.tensor(row[-n:].tolist())
    table = table[-n:]
    return float(table.gather(1, labels[:, None]).sum()), bool((table.argmax(-1) == labels).all())


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("batch_tokens", [60, 400])
def test_likelihoods_are_those_of_each_text_run_alone(kind, share, batch_tokens):
    model, requests = make_model(kind), mixed()
    scorer = ContinuationScorer(model, find_head(model.model, 60), 1000)
    found = {}
    for batch in plan_shared(requests, batch_tokens, share=share):
        found |= dict(zip(batch.items, scorer.score(requests, batch), strict=True))
    assert sorted(found) == list(range(len(requests.ids)))
    for item, rows in enumerate(requests.ids):
        pairs = zip(rows, requests.continuations[item], strict=True)
        expected = [by_hand(model, row, n) for row, n in pairs]
        assert [value for value, _ in found[item]] == pytest.approx(
            [value for value, _ in expected], abs=2e-5
        )
        assert [flag for _, flag in found[item]] == [flag for _, flag in expected]


def test_what_items_share_is_run_once():
    requests = mixed()
    shared = plan_shared(requests, 400)
    header = next(batch for batch in shared if len(set(batch.shared)) == 1 and 0 in batch.items)
    assert set(header.items) == {0, 1, 2, 3, 4}
    assert header.shared == (30,) * 5
    # A header once, then every question once for its four choices.
    assert header.n_tokens == 30 + 5 + 9 + 3 + 7 + 4
    apart = plan_shared(requests, 400, share=False)
    assert sum(b.n_tokens for b in shared) < 0.5 * sum(b.n_tokens for b in apart)


def test_a_long_text_loses_its_first_tokens():
    model, row = make_model("llama"), tokens(30)
    scorer = ContinuationScorer(model, find_head(model.model, 60), 20)
    requests = Requests([[row]], [[3]], [])
    (batch,) = plan_shared(requests, 100)
    ((likelihood,),) = scorer.score(requests, batch)
    assert likelihood[0] == pytest.approx(by_hand(model, row[-21:], 3)[0], abs=2e-5)


def test_sliding_windows_share_only_where_they_reach_all():
    config = make_model("llama").model.config
    assert can_share(config, 100)
    config.sliding_window = 64
    assert can_share(config, 64)
    assert not can_share(config, 65)
    config.sliding_window, config.layer_types = None, ["full_attention", "sliding_attention"]
    assert not can_share(config, 8)
