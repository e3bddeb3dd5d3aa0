"""Log-likelihoods of continuations, with the states of what requests share computed once.

The keys and values of a shared beginning are computed once and given to every row that begins with
it, whose own tokens alone are then run. Beginnings of several lengths are padded, so that is done
for models that bear a gap (decoder/padding.py); others run every row whole. The formula:

    log P(continuation | context) = sum over its tokens of log softmax(logits)[token]
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dskd_core.decoder.batches import padded
from dskd_core.decoder.decoder import Decoder
from dskd_core.decoder.head import Head
from dskd_core.decoder.padding import bears_gap
from dskd_core.evaluation.benchmarks.layout import ItemBatch, Requests

_LOGIT_BYTES = 256 << 20
Likelihood = tuple[float, bool]
"""Log-likelihood of a continuation, and whether greedy decoding would write it."""
_Tokens = tuple[int, ...]


@dataclass(frozen=True)
class _Inputs:
    """The distinct inputs of a batch; choices of one token each differ in nothing that is run.

    Attributes:
        rows: tokens of each input after its beginning.
        beginnings: tokens that inputs share, each once.
        groups: [n_rows], the beginning of each input.
        continuations: of each request in order, its input and the continuation's tokens.
    """

    rows: list[NDArray[np.int32]]
    beginnings: list[_Tokens]
    groups: list[int]
    continuations: list[tuple[int, NDArray[np.int32]]]


class ContinuationScorer:
    """Computes the log-likelihoods of continuations by one model.

    The head is whole, padded rows of the vocabulary included, as in the model's own logits.
    Requests of more than ``max_tokens`` lose their first ones.
    """

    def __init__(self, model: Decoder, head: Head, max_tokens: int) -> None:
        self._model, self._head, self._max_tokens = model, head, max_tokens
        self._kept: tuple[_Tokens, list[tuple[Tensor, Tensor]]] | None = None

    @torch.inference_mode()
    def score(self, requests: Requests, batch: ItemBatch) -> list[list[Likelihood]]:
        """Return the likelihoods of every request of every item of a batch."""
        inputs = _inputs(requests, batch, self._max_tokens)
        states = self._states(inputs)
        places, labels, lengths = [], [], []
        for row, tokens in inputs.continuations:
            start = len(inputs.rows[row]) - len(tokens)
            places += [(row, start + i) for i in range(len(tokens))]
            labels += tokens.tolist()
            lengths.append(len(tokens))
        rows, columns = torch.tensor(places, device=states.device).T
        logprobs, greedy = self._logprobs(
            states[rows, columns], torch.tensor(labels, device=states.device)
        )
        likelihoods = iter(
            (float(values.sum()), bool(flags.all()))
            for values, flags in zip(
                torch.split(logprobs, lengths), torch.split(greedy, lengths), strict=True
            )
        )
        return [[next(likelihoods) for _ in requests.ids[item]] for item in batch.items]

    def _states(self, inputs: _Inputs) -> Tensor:
        """Return the final states of the rows' own tokens, [n_rows, longest, d]."""
        device = self._model.device
        begun = [len(inputs.beginnings[group]) for group in inputs.groups]
        if not any(begun) or not bears_gap(self._model.model, _width(inputs)):
            return self._states_of_whole(inputs, begun)
        ids = padded(inputs.rows, ()).to(device)
        n_before = torch.tensor(begun, device=device)
        cache, width = self._cache(inputs.beginnings, torch.tensor(inputs.groups, device=device))
        visible = torch.arange(width, device=device) < n_before[:, None]
        visible = torch.cat([visible, visible.new_ones(ids.shape)], dim=1)
        output = self._model.model.base_model(
            input_ids=ids,
            attention_mask=visible.long(),
            position_ids=n_before[:, None] + torch.arange(ids.shape[1], device=device),
            past_key_values=cache,
            use_cache=True,
        )
        states: Tensor = output.last_hidden_state
        return states

    def _states_of_whole(self, inputs: _Inputs, begun: list[int]) -> Tensor:
        """Return the same without sharing anything: of models for which a gap is not exact."""
        pairs = zip(inputs.rows, inputs.groups, strict=True)
        whole = [
            np.concatenate([np.array(inputs.beginnings[group], dtype=np.int32), row])
            for row, group in pairs
        ]
        ids = padded(whole, ()).to(self._model.device)
        states = self._model.states(ids, [len(row) for row in whole])
        if not any(begun):
            return states
        own = states.new_zeros(len(whole), max(map(len, inputs.rows)), states.shape[2])
        for line, (row, n_before) in enumerate(zip(inputs.rows, begun, strict=True)):
            own[line, : len(row)] = states[line, n_before : n_before + len(row)]
        return own

    def _cache(self, beginnings: list[_Tokens], rows: Tensor) -> tuple[Any, int]:
        """Return the keys and values of each row's beginning, and how many they are."""
        from transformers import DynamicCache

        if self._kept is not None and [self._kept[0]] == beginnings:
            layers = self._kept[1]
        else:
            ids = padded([np.array(b, dtype=np.int64) for b in beginnings], ()).to(rows.device)
            output = self._model.model.base_model(input_ids=ids, use_cache=True)
            layers = [(layer.keys, layer.values) for layer in output.past_key_values.layers]
            if len(beginnings) == 1:  # the next batch of this group needs it again
                self._kept = (beginnings[0], layers)
        cache = DynamicCache()
        for number, (keys, values) in enumerate(layers):
            cache.update(keys.index_select(0, rows), values.index_select(0, rows), number)
        return cache, layers[0][0].shape[2]

    def _logprobs(self, states: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return log P of each label, float64, and whether it is the most probable one."""
        n_rows = max(1, _LOGIT_BYTES // (4 * len(self._head.weight)))
        logprobs, greedy = [], []
        for chunk, label in zip(
            torch.split(states, n_rows), torch.split(labels, n_rows), strict=True
        ):
            table = self._head.logits(chunk).float().log_softmax(dim=-1)
            logprobs.append(table.gather(1, label[:, None])[:, 0].double().cpu())
            greedy.append((table.argmax(dim=-1) == label).cpu())
        return torch.cat(logprobs), torch.cat(greedy)


def _width(inputs: _Inputs) -> int:
    """Return how many places of the cache a batch takes that shares beginnings."""
    return max(map(len, inputs.beginnings)) + max(map(len, inputs.rows))


def _inputs(requests: Requests, batch: ItemBatch, max_tokens: int) -> _Inputs:
    """Return what a model runs for a batch; a request that is cut shares nothing."""
    rows: list[NDArray[np.int32]] = []
    groups: list[int] = []
    beginnings: dict[_Tokens, int] = {}
    numbers: dict[_Tokens, int] = {}
    continuations = []
    for item, n_shared in zip(batch.items, batch.shared, strict=True):
        for ids, n in zip(requests.ids[item], requests.continuations[item], strict=True):
            kept = ids[-(max_tokens + 1) :]
            start = n_shared if len(kept) == len(ids) else 0
            beginning, text = tuple(kept[:start].tolist()), tuple(kept[:-1].tolist())
            if text not in numbers:
                numbers[text] = len(rows)
                rows.append(kept[start:-1])
                groups.append(beginnings.setdefault(beginning, len(beginnings)))
            continuations.append((numbers[text], kept[-n:]))
    return _Inputs(rows, list(beginnings), groups, continuations)
