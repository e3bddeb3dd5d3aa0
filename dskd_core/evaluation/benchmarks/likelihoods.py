"""Log-likelihoods of continuations, with the states of what requests share computed once.

The choices of one item follow one context, and the items of an MMLU subject one header of
exemplars. Requests are grouped by the beginning they share; its keys and values are computed once
a group and given to every row, whose own tokens alone are then run:

    log P(continuation | context) = sum over its tokens of log softmax(logits)[token]
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dskd_core.decoder.batches import padded, plan_batches
from dskd_core.decoder.decoder import Decoder
from dskd_core.decoder.head import Head
from dskd_core.evaluation.benchmarks.layout import Requests

_LOGIT_BYTES = 256 << 20
_WORTH = 16
"""Tokens that items must share at least to be one group."""
Likelihood = tuple[float, bool]


@dataclass(frozen=True)
class Batch:
    """Items that are run together.

    Attributes:
        items: their numbers.
        shared: of each, how many first tokens all its group's requests have in common.
        n_tokens: tokens that are run, beginnings of groups included once.
    """

    items: tuple[int, ...]
    shared: tuple[int, ...]
    n_tokens: int


def plan_shared(requests: Requests, batch_tokens: int, *, share: bool = True) -> list[Batch]:
    """Group items by the beginning they share and cut them into batches.

    In the order of their tokens, an item joins the group before it where that saves tokens:
    n rows that share p tokens save (n - 1) p. Groups of one item are batched by length. The plan
    knows no shards, so that an item meets the same neighbours however the work is cut.

    Args:
        requests: of all items.
        batch_tokens: most tokens of a batch, padding and shared beginnings counted in every row.
        share: whether beginnings are shared at all.
    """
    n_rows = [len({row[:-1].tobytes() for row in rows}) for rows in requests.ids]
    groups = _groups(requests, n_rows) if share else [([i], 0) for i in range(len(n_rows))]
    alone = {members[0]: shared for members, shared in groups if len(members) == 1}
    numbers = [sorted(alone), *(members for members, _ in groups if len(members) > 1)]
    shares = alone | {i: shared for members, shared in groups for i in members}
    weights = requests.lengths * n_rows
    return [
        _batch(batch.tolist(), shares, requests)
        for members in numbers
        for batch in plan_batches(weights, np.array(members, dtype=np.int64), batch_tokens)
    ]


def _batch(items: list[int], shares: dict[int, int], requests: Requests) -> Batch:
    shared = tuple(shares[item] for item in items)
    beginnings, own = set(), 0
    for item, n in zip(items, shared, strict=True):
        rows = requests.ids[item]
        beginnings.add(rows[0][:n].tobytes())
        own += sum(len(text) // 4 for text in {row[n:-1].tobytes() for row in rows})
    return Batch(tuple(items), shared, own + sum(len(text) // 4 for text in beginnings))


def _groups(requests: Requests, n_rows: list[int]) -> list[tuple[list[int], int]]:
    """Return groups of items and the length of what each group shares."""
    order = sorted(range(len(n_rows)), key=lambda i: requests.ids[i][0].tolist())
    groups: list[tuple[list[int], int]] = []
    n_grouped = 0
    for item in order:
        rows = requests.ids[item]
        own = _common(rows, requests.continuations[item])
        if groups:
            members, shared = groups[-1]
            joint = min(shared, own, _common_length(requests.ids[members[0]][0], rows[0]))
            apart = (n_grouped - 1) * shared + (n_rows[item] - 1) * own
            if joint >= _WORTH and (n_grouped + n_rows[item] - 1) * joint > apart:
                groups[-1] = ([*members, item], joint)
                n_grouped += n_rows[item]
                continue
        groups.append(([item], own))
        n_grouped = n_rows[item]
    return [(m, shared if sum(n_rows[i] for i in m) > 1 else 0) for m, shared in groups]


def _common(rows: Sequence[NDArray[np.int32]], continuations: Sequence[int]) -> int:
    """Return how many first tokens an item's requests share, and still leave each one to run."""
    limits = [len(row) - n - 1 for row, n in zip(rows, continuations, strict=True)]
    return max(0, min([*limits, *(_common_length(rows[0], row) for row in rows[1:])]))


def _common_length(one: NDArray[np.int32], other: NDArray[np.int32]) -> int:
    n = min(len(one), len(other))
    differ = np.flatnonzero(one[:n] != other[:n])
    return int(differ[0]) if len(differ) else n


class Reader:
    """Reads batches of requests with one model.

    Args:
        model: the subject.
        head: its whole head, padded rows of the vocabulary included, as in its own logits.
        max_tokens: most tokens the model reads; longer requests lose their first ones.
    """

    def __init__(self, model: Decoder, head: Head, max_tokens: int) -> None:
        self._model, self._head, self._max_tokens = model, head, max_tokens
        self._kept: tuple[tuple[int, ...], Any] | None = None

    @torch.inference_mode()
    def read(self, requests: Requests, batch: Batch) -> list[list[Likelihood]]:
        """Return the likelihoods of every request of every item of a batch."""
        rows: list[NDArray[np.int32]] = []
        groups: list[int] = []
        places: dict[tuple[int, ...], int] = {}
        inputs: dict[tuple[int, ...], int] = {}
        wanted: list[list[tuple[int, NDArray[np.int32]]]] = []
        for item, shared in zip(batch.items, batch.shared, strict=True):
            asked = []
            for ids, n in zip(requests.ids[item], requests.continuations[item], strict=True):
                cut = ids[-(self._max_tokens + 1) :]
                start = shared if len(cut) == len(ids) else 0
                beginning = tuple(cut[:start].tolist())
                text = tuple(cut[:-1].tolist())
                if text not in inputs:  # single-token choices differ in nothing that is read
                    inputs[text] = len(rows)
                    rows.append(cut[start:-1])
                    groups.append(places.setdefault(beginning, len(places)))
                asked.append((inputs[text], cut[-n:]))
            wanted.append(asked)
        states, lengths = self._states(rows, groups, list(places))
        return self._judged(states, lengths, wanted)

    def _states(
        self,
        rows: list[NDArray[np.int32]],
        groups: list[int],
        beginnings: list[tuple[int, ...]],
    ) -> tuple[Tensor, list[int]]:
        """Return the final states of the rows' own tokens, [n_rows, longest, d]."""
        device = self._model.device
        lengths = [len(row) for row in rows]
        ids = padded(rows, ()).to(device)
        if not any(beginnings):
            return self._model.states(ids), lengths
        before = torch.tensor([len(beginnings[g]) for g in groups], device=device)
        cache, width = self._cache(beginnings, torch.tensor(groups, device=device))
        own = torch.arange(ids.shape[1], device=device)
        visible = torch.arange(width, device=device) < before[:, None]
        visible = torch.cat([visible, visible.new_ones(ids.shape)], dim=1)
        read = self._model.model.base_model(
            input_ids=ids,
            attention_mask=visible.long(),
            position_ids=before[:, None] + own,
            past_key_values=cache,
            use_cache=True,
        )
        return read.last_hidden_state, lengths

    def _cache(self, beginnings: list[tuple[int, ...]], rows: Tensor) -> tuple[Any, int]:
        """Return the keys and values of each row's beginning, and how many they are."""
        from transformers import DynamicCache

        if self._kept is None or [self._kept[0]] != beginnings:
            ids = padded([np.array(b, dtype=np.int64) for b in beginnings], ()).to(rows.device)
            read = self._model.model.base_model(input_ids=ids, use_cache=True)
            layers = [(layer.keys, layer.values) for layer in read.past_key_values.layers]
            if len(beginnings) == 1:  # the next batch of this group finds it
                self._kept = (beginnings[0], layers)
        else:
            layers = self._kept[1]
        cache = DynamicCache()
        for number, (keys, values) in enumerate(layers):
            cache.update(keys.index_select(0, rows), values.index_select(0, rows), number)
        return cache, layers[0][0].shape[2]

    def _judged(
        self,
        states: Tensor,
        lengths: list[int],
        wanted: list[list[tuple[int, NDArray[np.int32]]]],
    ) -> list[list[Likelihood]]:
        places, labels, ends = [], [], []
        for row, tokens in (pair for asked in wanted for pair in asked):
            start = lengths[row] - len(tokens)
            places += [(row, start + i) for i in range(len(tokens))]
            labels += tokens.tolist()
            ends.append(len(labels))
        where = torch.tensor(places, device=states.device)
        told = torch.tensor(labels, device=states.device)
        logprobs, greedy = self._logprobs(states[where[:, 0], where[:, 1]], told)
        found, start = [], 0
        for end in ends:
            found.append((float(logprobs[start:end].sum()), bool(greedy[start:end].all())))
            start = end
        pairs = iter(found)
        return [[next(pairs) for _ in asked] for asked in wanted]

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


def can_share(config: Any, max_tokens: int) -> bool:
    """Say whether all layers attend to all that came before, up to ``max_tokens``.

    Sliding windows and recurrent layers keep no keys and values that rows could share.
    """
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None)
    return kinds <= {"full_attention"} and (window is None or int(window) >= max_tokens)
