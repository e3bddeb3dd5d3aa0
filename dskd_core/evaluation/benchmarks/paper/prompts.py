"""The paper's protocol: chat template, random exemplars of the same kind."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dskd_core.config import BenchmarkConfig
from dskd_core.evaluation.benchmarks.layout import Item
from dskd_core.evaluation.benchmarks.questions import Benchmark
from dskd_core.progress import Progress
from dskd_core.prompts.chat import ChatFormat, messages
from dskd_core.prompts.exemplars import Pool
from dskd_core.prompts.questions import Question

_BLOCK = 512  # prompts tokenized at a time


@dataclass(frozen=True)
class PaperPrompts:
    """Writes the items of a benchmark as chats.

    The model reads at most ``context_tokens``, prompt and answer together.
    """

    config: BenchmarkConfig
    chat: ChatFormat
    context_tokens: int
    seed: int

    def items(self, benchmark: Benchmark, progress: Progress) -> Iterator[Item]:
        """Yield an item for each question; what is left out or shortened is counted.

        An item whose text the tokenizer would read as a special token is left out. Where a prompt
        exceeds the context, its first exemplars go, one by one.
        """
        pool = Pool(benchmark.exemplars, seed=self.seed)
        counts = benchmark.counts
        for start in range(0, len(benchmark.items), _BLOCK):
            block = [
                (question, pool.draw(question, self.config.n_exemplars))
                for question in benchmark.items[start : start + _BLOCK]
            ]
            encoded = self.chat.encode([messages(*pair) for pair in block])
            for (question, exemplars), ids in zip(block, encoded, strict=True):
                if self.chat.holds_marker(messages(question, exemplars)):
                    counts["holds_marker"] += 1
                    continue
                yield self._item(question, exemplars, ids, counts)
            progress(start + len(block), len(benchmark.items), "items")

    def _item(
        self, question: Question, exemplars: list[Question], ids: list[int], counts: Counter[str]
    ) -> Item:
        room = self.context_tokens - self.config.answer_tokens - len(self.chat.prefix)
        if len(ids) > room:
            counts["shortened"] += 1
        while len(ids) > room and exemplars:
            exemplars = exemplars[1:]
            ids = self.chat.encode([messages(question, exemplars)])[0]
        if len(ids) > room:
            counts["beyond_the_context"] += 1
        counts["few_exemplars"] += len(exemplars) < self.config.n_exemplars
        return Item(
            question,
            tuple(exemplar.id for exemplar in exemplars),
            (np.array(ids, dtype=np.int32),),
            (0,),
        )
