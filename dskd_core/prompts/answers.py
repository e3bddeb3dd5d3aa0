"""The teacher's answers: greedy decoding of prompts, a batch at a time, each as if alone."""

from collections.abc import Collection, Sequence
from functools import partial
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dskd_core.decoder.batches import padded
from dskd_core.decoder.decoder import Decoder
from dskd_core.decoder.padding import bears_gap, keeps_rows_apart
from dskd_core.progress import Progress, silent


def answer_batches(
    model: Decoder,
    prompts: Sequence[NDArray[np.integer]],
    prefix: Sequence[int],
    limits: NDArray[np.integer],
    end_tokens: Collection[int],
    batches: Sequence[NDArray[np.int64]],
    *,
    progress: Progress = silent,
) -> list[list[int]]:
    """Return the answers to the prompts of all batches, in the order of the batches.

    Prompts come without the prefix. ``limits`` [n_prompts] are the most tokens of each answer,
    alike in a batch.
    """
    n_total, n_done = sum(len(prompts[i]) for i in chain(*batches)), 0
    answers: list[list[int]] = []
    for batch in batches:
        rows = [prompts[i] for i in batch]
        answers += greedy_answers(model, rows, prefix, int(limits[batch[0]]), end_tokens)
        n_done += sum(map(len, rows))
        progress(n_done, n_total, "tokens")
    return answers


DECODING = 2
"""Raised when answers change: 2 since padding no longer stands between a prompt and its answer."""


@torch.inference_mode()
def greedy_answers(
    model: Decoder,
    prompts: Sequence[NDArray[np.integer]],
    prefix: Sequence[int],
    n_tokens: int,
    end_tokens: Collection[int],
) -> list[list[int]]:
    """Continue each prompt with the most probable token, up to ``n_tokens`` times.

    An answer does not depend on the prompts it shares a batch with. A model that bears a gap
    (decoder/padding.py) answers prompts of all lengths together. Any other, with a short window, a
    recurrence, a convolution or whatever is not known, answers those of one length at a time, by
    transformers' own ``generate``, which knows every family's cache; there is no padding then. One
    whose cache is not of transformers' classes answers one prompt at a time. Answers of one token
    need no cache, and padding on the right is never seen.

    What remains is rounding: sums of another batch may be taken in another order, so where two
    tokens are equally probable up to rounding either may be written. The same batches on the same
    kind of machine give the same answers; batches know no shards.

    Prompts come without the prefix. The end token that is written is an answer's last.

    Returns:
        The ids of each answer, at least one each.
    """
    lengths = np.array([len(prefix) + len(prompt) for prompt in prompts])
    if model.has_plain_head and n_tokens == 1:
        return _next_tokens(model, prompts, prefix, lengths)
    if model.has_plain_head and bears_gap(model.model, int(lengths.max()) + n_tokens):
        written = _written_together(model, padded(prompts, prefix), lengths, n_tokens, end_tokens)
        return [_until_end(row, end_tokens) for row in written]
    answers: dict[int, list[int]] = {}
    for alike in _run_together(model, lengths):
        ids = padded([prompts[i] for i in alike], prefix)
        written = _generated(model, ids, n_tokens, end_tokens)
        answers |= {
            int(i): _until_end(row, end_tokens) for i, row in zip(alike, written, strict=True)
        }
    return [answers[i] for i in range(len(prompts))]


def _run_together(model: Decoder, lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return rows that may share a batch without padding, the longest first."""
    alike = [np.flatnonzero(lengths == length) for length in np.unique(lengths)[::-1]]
    if all(len(rows) == 1 for rows in alike) or keeps_rows_apart(model.model):
        return alike
    return [row for rows in alike for row in rows[:, None]]


def _next_tokens(
    model: Decoder,
    prompts: Sequence[NDArray[np.integer]],
    prefix: Sequence[int],
    lengths: NDArray[np.int64],
) -> list[list[int]]:
    states = model.states(padded(prompts, prefix).to(model.device), lengths.tolist())
    last = torch.from_numpy(lengths - 1).to(states.device)
    found = model.predictions(states[torch.arange(len(last), device=states.device), last])
    return [[token] for token in found.tolist()]


def _written_together(
    model: Decoder,
    ids: Tensor,
    row_lengths: NDArray[np.int64],
    n_tokens: int,
    end_tokens: Collection[int],
) -> list[list[int]]:
    """Return what follows right-padded rows, of a model that bears the gap behind each.

    One pass reads the rows; attention is causal, so it needs no mask. Each further token is one
    step over the cached keys and values in which the padding is masked and every row has its own
    position. Only the states that are asked for meet the head.
    """
    ids = ids.to(model.device)
    lengths = torch.from_numpy(row_lengths).to(model.device)
    visible = torch.arange(ids.shape[1], device=model.device) < lengths[:, None]
    read = model.model.base_model(input_ids=ids, use_cache=True)
    rows = torch.arange(len(ids), device=model.device)
    written = [model.predictions(read.last_hidden_state[rows, lengths - 1])]
    ended = _among(written[0], end_tokens)
    while len(written) < n_tokens and not bool(ended.all()):
        visible = torch.cat([visible, visible.new_ones(len(ids), 1)], dim=1)
        read = model.model.base_model(
            input_ids=written[-1][:, None],
            attention_mask=visible.long(),
            position_ids=(lengths + len(written) - 1)[:, None],
            past_key_values=read.past_key_values,
            use_cache=True,
        )
        written.append(model.predictions(read.last_hidden_state[:, -1]))
        ended |= _among(written[-1], end_tokens)
    found: list[list[int]] = torch.stack(written, dim=1).tolist()
    return found


def _generated(
    model: Decoder, ids: Tensor, n_tokens: int, end_tokens: Collection[int]
) -> list[list[int]]:
    """Return what transformers' ``generate`` writes after rows of one length.

    The model's own generation settings (penalties, suppressed tokens, a cache of another kind) are
    put aside: the answer is the most probable tokens.
    """
    from transformers import GenerationConfig

    ids = ids.to(model.device)
    greedy = GenerationConfig(
        do_sample=False,
        max_new_tokens=n_tokens,
        eos_token_id=sorted(end_tokens) or None,
        pad_token_id=0,
    )
    model.forget_width()
    own = model.model.generation_config
    model.model.generation_config = GenerationConfig()
    try:
        written = model.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            generation_config=greedy,
            logits_processor=[partial(_without_padded_rows, model.n_tokens)],
        )
    finally:
        model.model.generation_config = own
    found: list[list[int]] = written[:, ids.shape[1] :].tolist()
    return found


def _without_padded_rows(n_tokens: int, ids: Tensor, logits: Tensor) -> Tensor:
    """Let no padded row of the vocabulary win."""
    logits = logits.clone()
    logits[:, n_tokens:] = -torch.inf
    return logits


def end_tokens_of(model: Decoder, eos_token: int | None) -> frozenset[int]:
    """Return the ids that end an answer: the model's own, or else the tokenizer's."""
    config = getattr(model.model, "generation_config", None)
    ends = getattr(config, "eos_token_id", None)
    listed = ends if isinstance(ends, list) else [ends]
    return frozenset(int(end) for end in (*listed, eos_token) if end is not None)


def _among(tokens: Tensor, wanted: Collection[int]) -> Tensor:
    return torch.isin(tokens, torch.tensor(sorted(wanted), dtype=tokens.dtype).to(tokens.device))


def _until_end(answer: list[int], end_tokens: Collection[int]) -> list[int]:
    ends = [i for i, token in enumerate(answer) if token in end_tokens]
    return answer[: ends[0] + 1] if ends else answer
