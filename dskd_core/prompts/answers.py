"""The teacher's answers: greedy decoding of right-padded prompts, a batch at a time."""

from collections.abc import Collection, Sequence
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dskd_core.decoder.batches import padded
from dskd_core.decoder.decoder import Decoder
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

    Args:
        model: the teacher.
        prompts: token ids of every prompt, without the prefix.
        prefix: ids the model is given before each.
        limits: [n_prompts], most tokens of each answer, alike in a batch.
        end_tokens: ids that end an answer.
        batches: numbers of prompts.
        progress: told tokens of prompts.
    """
    n_total, n_done = sum(len(prompts[i]) for i in chain(*batches)), 0
    answers: list[list[int]] = []
    for batch in batches:
        rows = [prompts[i] for i in batch]
        answers += greedy_answers(model, rows, prefix, int(limits[batch[0]]), end_tokens)
        n_done += sum(map(len, rows))
        progress(n_done, n_total, "tokens")
    return answers


@torch.inference_mode()
def greedy_answers(
    model: Decoder,
    prompts: Sequence[NDArray[np.integer]],
    prefix: Sequence[int],
    n_tokens: int,
    end_tokens: Collection[int],
) -> list[list[int]]:
    """Continue each prompt with the most probable token, up to ``n_tokens`` times.

    One pass reads the prompts; attention is causal, so it needs no mask. Each further token is one
    step over the cached keys and values in which the padding is masked and every row has its own
    position. Only the states that are asked for meet the head.

    Args:
        model: the teacher.
        prompts: token ids of each prompt, without the prefix.
        prefix: ids the model is given before each.
        n_tokens: most tokens of an answer.
        end_tokens: ids that end an answer; the one written is its last token.

    Returns:
        The ids of each answer, at least one each.
    """
    ids = padded(prompts, prefix).to(model.device)
    lengths = torch.tensor([len(prefix) + len(prompt) for prompt in prompts], device=model.device)
    visible = torch.arange(ids.shape[1], device=model.device) < lengths[:, None]
    more = n_tokens > 1
    read = model.model.base_model(input_ids=ids, use_cache=more)
    rows = torch.arange(len(prompts), device=model.device)
    written = [model.predictions(read.last_hidden_state[rows, lengths - 1])]
    ended = _among(written[0], end_tokens)
    while len(written) < n_tokens and not bool(ended.all()):
        visible = torch.cat([visible, visible.new_ones(len(prompts), 1)], dim=1)
        read = model.model.base_model(
            input_ids=written[-1][:, None],
            attention_mask=visible.long(),
            position_ids=(lengths + len(written) - 1)[:, None],
            past_key_values=read.past_key_values,
            use_cache=True,
        )
        written.append(model.predictions(read.last_hidden_state[:, -1]))
        ended |= _among(written[-1], end_tokens)
    return [_until_end(row, end_tokens) for row in torch.stack(written, dim=1).tolist()]


def end_tokens_of(model: Decoder, eos_token: int | None) -> frozenset[int]:
    """Return the ids that end an answer: the model's own, or else the tokenizer's."""
    settings = getattr(model.model, "generation_config", None)
    ends = getattr(settings, "eos_token_id", None)
    listed = ends if isinstance(ends, list) else [ends]
    return frozenset(int(end) for end in (*listed, eos_token) if end is not None)


def _among(tokens: Tensor, wanted: Collection[int]) -> Tensor:
    return torch.isin(tokens, torch.tensor(sorted(wanted), dtype=tokens.dtype).to(tokens.device))


def _until_end(answer: list[int], end_tokens: Collection[int]) -> list[int]:
    ends = [i for i, token in enumerate(answer) if token in end_tokens]
    return answer[: ends[0] + 1] if ends else answer
