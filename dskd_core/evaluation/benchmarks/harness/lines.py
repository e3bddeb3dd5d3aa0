"""The line a model writes after a context: SQuAD's answer in lm-evaluation-harness's protocol."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dskd_core.decoder.decoder import Decoder
from dskd_core.decoder.tokenizer import Tokenizer
from dskd_core.evaluation.benchmarks.layout import ItemBatch, Requests
from dskd_core.progress import Progress
from dskd_core.prompts.answers import end_tokens_of, greedy_answers

LINE_TOKENS = (8, 32, 256)
"""How far lines are written before those that ended leave; the last is the library's limit."""


@dataclass(frozen=True)
class LineWriter:
    """Writes lines by greedy decoding, as lm-evaluation-harness does.

    A line ends with its text, a newline or after 256 tokens. Most end after a few. The others would
    keep their whole batch waiting, so they are continued together, twice. The model reads at most
    ``context_tokens``, the line included.
    """

    model: Decoder
    tokenizer: Tokenizer
    context_tokens: int

    def write(
        self, requests: Requests, batches: Sequence[ItemBatch], progress: Progress
    ) -> dict[int, str]:
        """Return the line after each item's context, by the item's number."""
        room = self.context_tokens - LINE_TOKENS[-1]
        prompts = {
            i: requests.ids[i][0][: -requests.continuations[i][0]][-room:]
            for batch in batches
            for i in batch.items
        }
        written: dict[int, list[int]] = {i: [] for i in prompts}
        ends = self._end_tokens()
        rounds = [batch.items for batch in batches]
        most = max(map(len, rounds))
        for n_before, n_tokens in pairwise((0, *LINE_TOKENS)):
            for items in rounds:
                begun = {i: np.array([*prompts[i], *written[i]], np.int32) for i in items}
                for i, more in self._continue(begun, n_tokens - n_before, ends).items():
                    written[i] += more
                n_ended = sum(bool(ids) and ids[-1] in ends for ids in written.values())
                progress(n_ended, len(written), f"lines of at most {n_tokens} tokens")
            late = [i for i, ids in written.items() if ids[-1] not in ends]
            rounds = [tuple(late[start : start + most]) for start in range(0, len(late), most)]
        texts = self.tokenizer.hf.batch_decode(list(written.values()), skip_special_tokens=True)
        return {i: text.split("\n")[0] for i, text in zip(written, texts, strict=True)}

    def _continue(
        self, begun: dict[int, NDArray[np.int32]], n_tokens: int, ends: frozenset[int]
    ) -> dict[int, list[int]]:
        """Return up to ``n_tokens`` more tokens of each text."""
        # The library's argmax is over the whole head, padded rows of the vocabulary included.
        n_rows = len(self.model.model.get_output_embeddings().weight)
        whole = replace(self.model, n_tokens=n_rows)
        answers = greedy_answers(whole, list(begun.values()), (), n_tokens, ends)
        return dict(zip(begun, answers, strict=True))

    def _end_tokens(self) -> frozenset[int]:
        """Return the tokens that end a text, and all that hold a newline."""
        hf = self.tokenizer.hf
        texts = hf.batch_decode([[token] for token in range(len(hf))])
        newlines = {token for token, text in enumerate(texts) if "\n" in text}
        return end_tokens_of(self.model, hf.eos_token_id) | newlines
