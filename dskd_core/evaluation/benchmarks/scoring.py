"""Batches of items through one model: generated answers, or log-likelihoods."""

import json
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from typing import Any, Literal

import numpy as np

from dskd_core.artifacts import Artifact
from dskd_core.config import TeacherConfig
from dskd_core.embeddings.batches import plan_batches
from dskd_core.embeddings.head import find_head
from dskd_core.embeddings.teacher import Teacher, load_decoder
from dskd_core.evaluation.benchmarks import harness, paper
from dskd_core.evaluation.benchmarks.items import TABLE, Requests, read_requests
from dskd_core.evaluation.benchmarks.likelihoods import (
    Batch,
    Likelihood,
    Reader,
    can_share,
    plan_shared,
)
from dskd_core.evaluation.subjects import context_tokens, model_config, model_folder
from dskd_core.progress import Progress
from dskd_core.prompts.answers import end_tokens_of, greedy_answers
from dskd_core.prompts.questions import Task
from dskd_core.tokenizers import Tokenizer, load_tokenizer

Protocol = Literal["paper", "harness"]
Row = dict[str, Any]
_GENERATED_TOKENS = 256  # that lm-evaluation-harness lets a model write


def batches_of(items: Artifact, batch_tokens: int, model: Artifact) -> list[Batch]:
    """Return the batches of items, the same for every sharding."""
    requests = read_requests(items)
    if items.record.config["protocol"] == "harness":
        folder = model_folder(model)
        share = can_share(model_config(folder), int(requests.lengths.max()))
        return plan_shared(requests, batch_tokens, share=share)
    lengths = requests.lengths + int(items.record.config["answer_tokens"])
    return [
        Batch(tuple(batch.tolist()), (0,) * len(batch), int(lengths[batch].sum()))
        for batch in plan_batches(lengths, np.arange(len(lengths)), batch_tokens)
    ]


def run(
    model: Artifact,
    config: TeacherConfig,
    items: Artifact,
    batches: Sequence[Batch],
    progress: Progress,
) -> list[Row]:
    """Score batches of items; return a row of ``part.parquet`` for each."""
    folder = model_folder(model)
    subject, tokenizer = load_decoder(folder, config), load_tokenizer(folder)
    table, requests = items.table(TABLE).to_pylist(), read_requests(items)
    if items.record.config["protocol"] == "paper":
        n_tokens = int(items.record.config["answer_tokens"])
        scored = _generated(subject, tokenizer, requests, table, batches, n_tokens)
    else:
        reader = Reader(
            subject,
            find_head(subject.model, subject.model.get_output_embeddings().weight.shape[0]),
            context_tokens(folder),
        )
        judge = _HarnessJudge(subject, tokenizer, table, batches)
        scored = _compared(reader, judge, requests, batches)
    n_total = sum(len(batch.items) for batch in batches)
    rows: list[Row] = []
    for found in scored:
        rows += found
        progress(len(rows), n_total, "items")
    return rows


def _generated(
    subject: Teacher,
    tokenizer: Tokenizer,
    requests: Requests,
    table: list[Row],
    batches: Iterable[Batch],
    n_tokens: int,
) -> Iterator[list[Row]]:
    """Yield the rows of each batch in the paper's protocol."""
    ends = end_tokens_of(subject, tokenizer.hf.eos_token_id)
    for batch in batches:
        prompts = [requests.ids[i][0] for i in batch.items]
        answers = greedy_answers(subject, prompts, requests.prefix, n_tokens, ends)
        texts = tokenizer.hf.batch_decode(
            answers, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        pairs = zip(batch.items, texts, strict=True)
        yield [{"number": i} | paper.judge(table[i], text) for i, text in pairs]


def _compared(
    reader: Reader, judge: "_HarnessJudge", requests: Requests, batches: Iterable[Batch]
) -> Iterator[list[Row]]:
    """Yield the rows of each batch in the protocol of lm-evaluation-harness."""
    for batch in batches:
        likelihoods = reader.read(requests, batch)
        yield judge.rows(batch, likelihoods)


class _HarnessJudge:
    """Lets lm-evaluation-harness judge batches of items by its own tasks."""

    def __init__(
        self, subject: Teacher, tokenizer: Tokenizer, table: list[Row], batches: Sequence[Batch]
    ) -> None:
        self._subject, self._hf, self._table = subject, tokenizer.hf, table
        numbers = [i for batch in batches for i in batch.items]
        self._documents = {i: json.loads(table[i]["document"]) for i in numbers}
        kinds = {i: (table[i]["task"], self._kind(i)) for i in numbers}
        groups: dict[tuple[Task, str], list[Row]] = {}
        for i, kind in kinds.items():
            groups.setdefault(kind, []).append(self._documents[i])
        tasks = {
            kind: harness.make_task(kind[0], kind[1], rows, rows, same_file=False)
            for kind, rows in groups.items()
        }
        self._tasks = {i: tasks[kind] for i, kind in kinds.items()}

    def rows(self, batch: Batch, likelihoods: list[list[Likelihood]]) -> list[Row]:
        """Return the rows of a batch."""
        contexts = [self._table[i]["context"] for i in batch.items]
        answers = self._answers(contexts) if contexts[0] is not None else [None] * len(contexts)
        return [
            {"number": i} | harness.judge(self._tasks[i], self._documents[i], found, answer)
            for i, found, answer in zip(batch.items, likelihoods, answers, strict=True)
        ]

    def _kind(self, item: int) -> str:
        row = self._table[item]
        return str(row["subject"]) if row["task"] == "mmlu" else ""

    def _answers(self, contexts: list[str]) -> list[str]:
        """Return what lm-evaluation-harness's own generation writes after each context."""
        instance = import_module("lm_eval.api.instance").Instance
        model = harness.language_model(self._subject.model, self._hf, len(contexts))
        settings = {"until": ["\n"]}
        asked = [
            instance(request_type="generate_until", doc={}, arguments=(c, settings), idx=0)
            for c in contexts
        ]
        return [str(text) for text in model.generate_until(asked, disable_tqdm=True)]
