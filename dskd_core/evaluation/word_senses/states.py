"""The state that stands for a word in its context.

In a decoder the state at position t speaks of token t + 1, so a word can be represented by two
kinds of state: those *before* its tokens, each of which predicts the token, and those *at* them.
The dictionary's senses are means of the first kind (keys ``predicted`` and ``next``) or of the
second (``input``), and only a state of the same kind may be held against them. Of a word of several
tokens each weighs the same, as in Eq. 2:

    before:  x = (1/m) sum_j n_(t_j - 1)        at:  x = (1/m) sum_j n_(t_j)

Attention is causal, so nothing after the word is read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dskd_core.decoder.batches import padded, plan_batches
from dskd_core.decoder.decoder import Decoder
from dskd_core.decoder.tokenizer import Tokenizer
from dskd_core.errors import ConfigError
from dskd_core.evaluation.word_senses.items import Context
from dskd_core.progress import Progress, silent

FloatArray = NDArray[np.float32]
Place = Literal["before", "at"]


@dataclass(frozen=True)
class Spelled:
    """A context as the model reads it.

    Attributes:
        token_ids: the text's up to the word's last token, without the prefix.
        own: places of the word's tokens in them.
    """

    token_ids: NDArray[np.int64]
    own: tuple[int, ...]


def spelled(tokenizer: Tokenizer, contexts: Sequence[Context]) -> list[Spelled]:
    """Tokenize contexts and find the tokens that have a character of the word.

    Raises:
        ConfigError: if the tokenizer cannot say which characters a token stands for.
    """
    if not tokenizer.hf.is_fast:
        raise ConfigError(
            f"The tokenizer {type(tokenizer.hf).__name__} gives no character offsets; use a "
            "teacher with a tokenizer.json."
        )
    encoded = tokenizer.hf(
        [context.text for context in contexts],
        add_special_tokens=False,
        return_offsets_mapping=True,
        split_special_tokens=True,
        verbose=False,
    )
    found = []
    for context, ids, offsets in zip(
        contexts, encoded.input_ids, encoded.offset_mapping, strict=True
    ):
        own = tuple(
            place
            for place, (start, stop) in enumerate(offsets)
            if start < context.stop and stop > context.start
        )
        n_read = own[-1] + 1 if own else 0
        found.append(Spelled(np.array(ids[:n_read], dtype=np.int64), own))
    return found


def word_states(
    decoder: Decoder,
    tokenizer: Tokenizer,
    contexts: Sequence[Context],
    *,
    place: Place,
    batch_tokens: int,
    progress: Progress = silent,
) -> FloatArray:
    """Run a decoder over contexts and return the state of each word.

    Of a text longer than ``batch_tokens`` tokens its end is read.

    Returns:
        [n_contexts, d] float32. NaN where there is no such state: before the first token of a
        text, where the tokenizer puts nothing before it.
    """

    def run(ids: Tensor, lengths: list[int]) -> list[Tensor]:
        return [decoder.states(ids, lengths)]

    (found,) = _states(decoder, tokenizer, contexts, run, 1, place, batch_tokens, progress)
    return np.asarray(found)


def states_by_layer(
    decoder: Decoder,
    tokenizer: Tokenizer,
    contexts: Sequence[Context],
    *,
    batch_tokens: int,
    progress: Progress = silent,
) -> FloatArray:
    """Run a decoder over contexts and return the state at each word in every layer.

    Of a text longer than ``batch_tokens`` tokens its end is read.

    Returns:
        [n_layers + 1, n_contexts, d] float32: the embeddings, then what leaves each layer, the last
        after the final norm. NaN for a word without tokens.
    """

    def run(ids: Tensor, lengths: list[int]) -> Sequence[Tensor]:
        body = decoder.model.base_model
        return body(input_ids=ids, use_cache=False, output_hidden_states=True).hidden_states  # type: ignore[no-any-return]

    n_states = len(decoder.layers) + 1
    return _states(decoder, tokenizer, contexts, run, n_states, "at", batch_tokens, progress)


@torch.no_grad()
def _states(
    decoder: Decoder,
    tokenizer: Tokenizer,
    contexts: Sequence[Context],
    run: Callable[[Tensor, list[int]], Sequence[Tensor]],
    n_states: int,
    place: Place,
    batch_tokens: int,
    progress: Progress,
) -> FloatArray:
    """Return the means of what ``run`` gives at each word, [n_states, n_contexts, d]."""
    rows, prefix = spelled(tokenizer, contexts), tokenizer.prefix
    room = batch_tokens - len(prefix)
    lengths = np.array([min(len(row.token_ids), room) for row in rows], dtype=np.int64)
    states = np.full((n_states, len(rows), decoder.head.shape[1]), np.nan, dtype=np.float32)
    n_done = 0
    for batch in plan_batches(lengths + len(prefix), np.flatnonzero(lengths), batch_tokens):
        ids = padded([rows[i].token_ids[-lengths[i] :] for i in batch], prefix)
        found = run(ids.to(decoder.device), (lengths[batch] + len(prefix)).tolist())
        for line, number in enumerate(batch):
            cut = len(rows[number].token_ids) - int(lengths[number])
            places = [p - cut + len(prefix) - (place == "before") for p in rows[number].own]
            if min(places) >= 0:
                means = [each[line, places].float().mean(dim=0).cpu().numpy() for each in found]
                states[:, number] = means
        n_done += len(batch)
        progress(n_done, len(rows), "contexts")
    return states
