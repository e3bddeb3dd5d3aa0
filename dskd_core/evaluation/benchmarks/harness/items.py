"""Items as lm-evaluation-harness words them: its exemplars, its requests, its tokens."""

import json
import logging
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dskd_core.decoder.tokenizer import Tokenizer
from dskd_core.evaluation.benchmarks.harness.tasks import (
    N_CHOICES,
    Row,
    hub_row,
    library,
    make_task,
)
from dskd_core.evaluation.benchmarks.layout import Item
from dskd_core.evaluation.benchmarks.questions import Benchmark, apart, by_subject, unique
from dskd_core.progress import Progress
from dskd_core.prompts.questions import Question, Task

EXEMPLAR_SEED = 1234
"""Seed of the exemplars: lm-evaluation-harness's default."""


class Encoder:
    """Writes requests as tokens, as lm-evaluation-harness does."""

    def __init__(self, hf: Any, config: Any) -> None:
        library()
        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        model = SimpleNamespace(config=config, device="cpu")
        hflm = import_module("lm_eval.models.huggingface").HFLM
        self._model = hflm(pretrained=model, tokenizer=hf, backend="causal")
        encode, suffix = self._model.tok_encode, Tokenizer(hf).suffix

        def without_end(text: str, **settings: Any) -> list[int]:
            """Leave out an EOS after the text: it would stand between context and continuation."""
            ids = list(encode(text, **settings))
            return ids[: -len(suffix)] if suffix and ids[-len(suffix) :] == suffix else ids

        # Each choice of an item encodes the same context.
        self._model.tok_encode = lru_cache(maxsize=16)(without_end)

    def encode_pair(self, context: str, continuation: str) -> tuple[NDArray[np.int32], int]:
        """Return the tokens of both, and how many are the continuation's.

        Where a token reaches from one into the other, the library may leave the continuation none;
        it then fails. Here each is written alone, since no tokens have the best likelihood.
        """
        first, second = self._model._encode_pair(context, continuation)
        if not second:
            first = self._model.tok_encode(context)
            second = self._model.tok_encode(continuation, add_special_tokens=False)
        return np.array([*first, *second], dtype=np.int32), len(second)


def harness_items(
    benchmark: Benchmark, task: Task, n_exemplars: int, encoder: Encoder, progress: Progress
) -> Iterator[Item]:
    """Yield an item for each question, with the requests of lm-evaluation-harness's own task.

    A question whose choices are not as many as the task's wording names is left out and counted.
    The pool of exemplars has no question that is scored; where both are one file, it has none
    that occurs twice, and lm-evaluation-harness passes over the item itself.
    """
    questions = _with_choices(benchmark.items, task)
    benchmark.counts["other_number_of_choices"] = len(benchmark.items) - len(questions)
    pool = _with_choices(benchmark.exemplars, task)
    pool = unique(pool) if benchmark.same_file else apart(pool, questions)
    pools = _by_lm_eval_task(pool, task)
    n_done = 0
    for subject, members in _by_lm_eval_task(questions, task).items():
        exemplars = _Exemplars(pools.get(subject, []))
        rows = [hub_row(question) for question in members]
        made = make_task(task, subject, rows, exemplars.rows, same_file=benchmark.same_file)
        n = exemplars.watch(made, n_exemplars)
        benchmark.counts["few_exemplars"] += len(members) * (n < n_exemplars)
        for number, (question, doc) in enumerate(zip(members, made.eval_docs, strict=True)):
            context = made.fewshot_context(doc, num_fewshot=n, gen_prefix=made.doc_to_prefix(doc))
            requests = made.construct_requests(
                doc=doc, ctx=context, metadata=(made.task_name, number, 1)
            )
            yield _item(question, doc, requests, exemplars.take_ids(), encoder)
        n_done += len(members)
        progress(n_done, len(questions), "items")


class _Exemplars:
    """Notes which exemplars lm-evaluation-harness draws."""

    def __init__(self, pool: Sequence[Question]) -> None:
        self.rows = [hub_row(question) for question in pool]
        self._drawn: list[str] = []
        self._ids = {_text(row): q.id for row, q in zip(self.rows, pool, strict=True)}

    def watch(self, task: Any, n_wanted: int) -> int:
        """Seed and watch a task's sampler; return how many exemplars it can draw for each item."""
        passes_over = bool(task.fewshot_cfg.split == task.config.test_split)
        task.set_fewshot_seed(EXEMPLAR_SEED)
        sample = task.sampler.sample

        def noted(*args: Any, **kwargs: Any) -> Any:
            rows = list(sample(*args, **kwargs))
            self._drawn += [self._ids[_text(row)] for row in rows]
            return rows

        task.sampler.sample = noted
        return max(0, min(n_wanted, len(self.rows) - passes_over))

    def take_ids(self) -> tuple[str, ...]:
        """Return the ids drawn since the last call."""
        ids = tuple(self._drawn)
        self._drawn.clear()
        return ids


def _by_lm_eval_task(questions: Sequence[Question], task: Task) -> dict[str, list[Question]]:
    """Return questions by the subject that has a task of its own; all under "" where none has."""
    return by_subject(questions) if task == "mmlu" else {"": list(questions)}


def _with_choices(questions: Sequence[Question], task: Task) -> list[Question]:
    """Return the questions with as many choices as the task's wording names."""
    n_choices = N_CHOICES.get(task)
    return [q for q in questions if n_choices is None or len(q.choices) == n_choices]


def _item(
    question: Question, doc: Row, requests: Sequence[Any], exemplars: tuple[str, ...], enc: Encoder
) -> Item:
    """Return an item of the requests that lm-evaluation-harness constructs."""
    pairs = [enc.encode_pair(*r.args) for r in requests if r.request_type == "loglikelihood"]
    contexts = [r.args[0] for r in requests if r.request_type == "generate_until"]
    return Item(
        question,
        exemplars,
        tuple(ids for ids, _ in pairs),
        tuple(n for _, n in pairs),
        document=_text(doc),
        context=contexts[0] if contexts else None,
    )


def _text(row: Row) -> str:
    return json.dumps(row, sort_keys=True, ensure_ascii=False)
