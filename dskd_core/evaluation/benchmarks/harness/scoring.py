"""Batches of items scored by lm-evaluation-harness's own tasks."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from dskd_core.decoder.decoder import Decoder
from dskd_core.decoder.head import find_head
from dskd_core.decoder.tokenizer import Tokenizer
from dskd_core.evaluation.benchmarks.harness.likelihoods import ContinuationScorer, Likelihood
from dskd_core.evaluation.benchmarks.harness.lines import LineWriter
from dskd_core.evaluation.benchmarks.harness.tasks import Row, make_task, score_answer
from dskd_core.evaluation.benchmarks.layout import ItemBatch, Requests
from dskd_core.evaluation.models import context_tokens
from dskd_core.progress import Progress
from dskd_core.prompts.questions import Task


class HarnessScorer:
    """Scores items by the metrics of lm-evaluation-harness.

    ``table`` has all rows of ``items.parquet``, ``lines`` the generated line of each item (squad).
    """

    def __init__(self, table: list[Row], numbers: Sequence[int], lines: dict[int, str]) -> None:
        self._documents = {i: json.loads(table[i]["document"]) for i in numbers}
        self._lines = lines
        self._kinds = {i: _kind(table[i]) for i in numbers}
        documents: dict[tuple[Task, str], list[Row]] = {}
        for i, kind in self._kinds.items():
            documents.setdefault(kind, []).append(self._documents[i])
        self._tasks = {
            kind: make_task(*kind, rows, rows, same_file=False) for kind, rows in documents.items()
        }

    def score(self, item: int, likelihoods: Sequence[Likelihood]) -> Row:
        """Return the row of ``part.parquet`` of an item."""
        task, document = self._tasks[self._kinds[item]], self._documents[item]
        return {"number": item} | score_answer(task, document, likelihoods, self._lines.get(item))


def score_batches(
    model: Decoder,
    tokenizer: Tokenizer,
    folder: Path,
    requests: Requests,
    table: list[Row],
    batches: Sequence[ItemBatch],
    progress: Progress,
) -> Iterator[list[Row]]:
    """Yield the rows of each batch.

    ``table`` has all rows of ``items.parquet``; ``folder`` says how many tokens the model reads.
    """
    n_context = context_tokens(folder)
    lines: dict[int, str] = {}
    if table[0]["context"] is not None:
        lines = LineWriter(model, tokenizer, n_context).write(requests, batches, progress)
    scorer = HarnessScorer(table, [i for batch in batches for i in batch.items], lines)
    head = find_head(model.model, model.model.get_output_embeddings().weight.shape[0])
    continuations = ContinuationScorer(model, head, n_context)
    for batch in batches:
        likelihoods = continuations.score(requests, batch)
        yield [scorer.score(i, own) for i, own in zip(batch.items, likelihoods, strict=True)]


def _kind(row: Row) -> tuple[Task, str]:
    """Return what the library has a task for: a benchmark, or a subject of MMLU."""
    return row["task"], str(row["subject"]) if row["task"] == "mmlu" else ""
