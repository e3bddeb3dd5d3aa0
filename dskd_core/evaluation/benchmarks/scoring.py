"""Batches of items through one model: generated answers, or log-likelihoods."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from dskd_core.config import TeacherConfig
from dskd_core.decoder.batches import plan_batches
from dskd_core.decoder.decoder import Decoder, load_decoder
from dskd_core.decoder.head import find_head
from dskd_core.decoder.tokenizer import Tokenizer, load_tokenizer
from dskd_core.evaluation.benchmarks import harness, paper
from dskd_core.evaluation.benchmarks.layout import TABLE, Requests
from dskd_core.evaluation.benchmarks.likelihoods import (
    Batch,
    Likelihood,
    Reader,
    can_share,
    plan_shared,
)
from dskd_core.evaluation.models import context_tokens, model_config, model_folder
from dskd_core.progress import Progress
from dskd_core.prompts.answers import end_tokens_of, greedy_answers
from dskd_core.prompts.questions import Task
from dskd_core.store.artifacts import Artifact

Protocol = Literal["paper", "harness"]
Row = dict[str, Any]
_LINE_TOKENS = (8, 32, 256)  # the last: what lm-evaluation-harness lets a model write


def batches_of(
    items: Artifact, requests: Requests, batch_tokens: int, model: Artifact
) -> list[Batch]:
    """Return the batches of items, the same for every sharding."""
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
    requests: Requests,
    batches: Sequence[Batch],
    progress: Progress,
) -> list[Row]:
    """Score batches of items; return a row of ``part.parquet`` for each."""
    folder = model_folder(model)
    subject, tokenizer = load_decoder(folder, config), load_tokenizer(folder)
    table = items.table(TABLE).to_pylist()
    if items.record.config["protocol"] == "paper":
        n_tokens = int(items.record.config["answer_tokens"])
        scored = _generated(subject, tokenizer, requests, table, batches, n_tokens)
    else:
        reader = Reader(
            subject,
            find_head(subject.model, subject.model.get_output_embeddings().weight.shape[0]),
            context_tokens(folder),
        )
        answers: dict[int, str] = {}
        if table[0]["context"] is not None:
            room = context_tokens(folder) - _LINE_TOKENS[-1]
            answers = _lines(subject, tokenizer, requests, batches, room, progress)
        scored = _compared(reader, _HarnessJudge(table, batches, answers), requests, batches)
    n_total = sum(len(batch.items) for batch in batches)
    rows: list[Row] = []
    for found in scored:
        rows += found
        progress(len(rows), n_total, "items")
    return rows


def _generated(
    subject: Decoder,
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


def _lines(
    subject: Decoder,
    tokenizer: Tokenizer,
    requests: Requests,
    batches: Sequence[Batch],
    room: int,
    progress: Progress,
) -> dict[int, str]:
    """Return the line that greedy decoding writes after each item's context.

    As lm-evaluation-harness does: up to the end of the line, of the text, or 256 tokens. Most lines
    end after a few. The others would keep their whole batch waiting, so they are gone on with
    together, twice.
    """
    hf = tokenizer.hf
    # Its argmax is over the whole head, padded rows of the vocabulary included.
    whole = replace(subject, n_tokens=len(subject.model.get_output_embeddings().weight))
    ends = end_tokens_of(subject, hf.eos_token_id)
    ends |= {
        i for i, text in enumerate(hf.batch_decode([[i] for i in range(len(hf))])) if "\n" in text
    }
    numbers = [batch.items for batch in batches]
    prompts = {
        i: requests.ids[i][0][: -requests.continuations[i][0]][-room:]
        for own in numbers
        for i in own
    }
    written: dict[int, list[int]] = {i: [] for i in prompts}

    def write(items: Sequence[int], n_tokens: int) -> None:
        begun = [np.concatenate([prompts[i], np.array(written[i], np.int32)]) for i in items]
        for i, more in zip(items, greedy_answers(whole, begun, (), n_tokens, ends), strict=True):
            written[i] += more

    most = max(map(len, numbers))
    for n_before, n_tokens in pairwise((0, *_LINE_TOKENS)):
        for items in numbers:
            write(items, n_tokens - n_before)
            n_ended = sum(bool(ids) and ids[-1] in ends for ids in written.values())
            progress(n_ended, len(written), f"lines of at most {n_tokens} tokens")
        late = [i for i, ids in written.items() if ids[-1] not in ends]
        numbers = [tuple(late[start : start + most]) for start in range(0, len(late), most)]
    texts = hf.batch_decode(list(written.values()), skip_special_tokens=True)
    return {i: text.split("\n")[0] for i, text in zip(written, texts, strict=True)}


class _HarnessJudge:
    """Lets lm-evaluation-harness judge batches of items by its own tasks."""

    def __init__(self, table: list[Row], batches: Sequence[Batch], answers: dict[int, str]) -> None:
        self._table, self._answers = table, answers
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
        return [
            {"number": i}
            | harness.judge(self._tasks[i], self._documents[i], found, self._answers.get(i))
            for i, found in zip(batch.items, likelihoods, strict=True)
        ]

    def _kind(self, item: int) -> str:
        row = self._table[item]
        return str(row["subject"]) if row["task"] == "mmlu" else ""
