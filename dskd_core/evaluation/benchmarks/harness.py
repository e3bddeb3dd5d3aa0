"""The tasks of lm-evaluation-harness, its own wording, exemplars and metrics, on rows of ours.

Only the data set under a task is replaced: by rows of the same columns as the hub's, made from
the questions that were read, texts as published. Nothing is downloaded.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from dskd_core.errors import ConfigError
from dskd_core.evaluation.benchmarks.answers import squad_scores
from dskd_core.evaluation.benchmarks.layout import Item
from dskd_core.evaluation.benchmarks.questions import Benchmark, apart, by_subject, unique
from dskd_core.progress import Progress
from dskd_core.prompts.questions import UNANSWERABLE, Question, Task

Row = dict[str, Any]

EXEMPLAR_SEED = 1234
"""Of the exemplars: what lm-evaluation-harness takes where it is told nothing."""
_FILES: dict[Task, str] = {
    "arc": "arc/arc_challenge.yaml",
    "commonsense_qa": "commonsense_qa/default.yaml",
    "mmlu": "mmlu/default/mmlu_{subject}.yaml",
    "piqa": "piqa/piqa.yaml",
}
_N_CHOICES: dict[Task, int] = {"commonsense_qa": 5, "mmlu": 4}  # that its wording names


def library() -> Any:
    """Return the module ``lm_eval``.

    Raises:
        ConfigError: if it is not installed.
    """
    try:
        return import_module("lm_eval")
    except ImportError as error:
        raise ConfigError(
            f"The protocol 'harness' needs lm-evaluation-harness, which is not installed ({error});"
            " run pip install 'dskd[eval]', or leave it out of evaluation.protocols."
        ) from error


def version() -> str:
    """Return the version of lm-evaluation-harness, whose tasks may change with it."""
    library()
    from importlib import metadata

    return metadata.version("lm_eval")


def row_of(question: Question) -> Row:
    """Return a question as the row of the data set on the hub, its text as published."""
    text, *others = question.verbatim
    if question.task == "squad":
        answers = [answer for answer in question.answers if answer != UNANSWERABLE]
        return {
            "id": question.id,
            "title": question.subject,
            "context": others[0],
            "question": text,
            "answers": {"text": answers, "answer_start": [0] * len(answers)},
        }
    answer = question.labels.index(str(question.answer))
    if question.task == "piqa":
        return {"goal": text, "sol1": others[0], "sol2": others[1], "label": answer}
    if question.task == "mmlu":
        return {"question": text, "subject": question.subject, "choices": others, "answer": answer}
    choices = {"text": others, "label": list(question.labels)}
    key = question.labels[answer]
    return {"id": question.id, "question": text, "choices": choices, "answerKey": key}


def make_task(
    task: Task, subject: str, items: Sequence[Row], pool: Sequence[Row], *, same_file: bool
) -> Any:
    """Return lm-evaluation-harness's task over rows of ours.

    Args:
        task: the benchmark.
        subject: of MMLU; else not looked at.
        items: what is scored.
        pool: what exemplars are drawn from.
        same_file: whether the items are among them, and must be passed over. That is what
            lm-evaluation-harness does where neither split is named.
    """
    library()
    import datasets

    asked = datasets.Dataset.from_list(list(items))
    drawn = datasets.Dataset.from_list(list(pool or items))
    data = {"train": drawn, "dev": drawn, "validation": asked, "test": asked}
    if task == "squad":
        return _squad_task(data)
    settings = _definition(_FILES[task].format(subject=subject))
    settings["custom_dataset"] = lambda **_: data
    if same_file:
        settings |= {"training_split": "train", "validation_split": "validation"}
        settings |= {"test_split": None, "fewshot_split": None}
    return import_module("lm_eval.api.task").ConfigurableTask(config=settings)


def _squad_task(data: dict[str, Any]) -> Any:
    squad = import_module("lm_eval.tasks.squadv2.task")

    class OwnRows(squad.SQuAD2):  # type: ignore[name-defined, misc]
        def download(self, *_: Any, **__: Any) -> None:
            self.dataset = data

        # lm-evaluation-harness 0.4.13 calls both with one argument more for an exemplar.
        def doc_to_text(self, doc: Row, _: Any = None) -> str:
            return str(super().doc_to_text(doc))

        def doc_to_target(self, doc: Row, _: Any = None) -> str:
            return str(super().doc_to_target(doc))

    return OwnRows()


def _definition(name: str) -> dict[str, Any]:
    """Read a definition of a task with what it includes, without an index of all 10,000 others."""
    path = Path(library().__file__).parent / "tasks" / name
    if not path.is_file():
        raise ConfigError(f"lm-evaluation-harness has no task {name}; check the subject's name.")
    values: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    included = values.pop("include", None)
    base = _definition(str(Path(name).parent / included)) if included else {}
    for key in ("tag", "group", "task_list"):
        base.pop(key, None), values.pop(key, None)
    return base | values


class Encoder:
    """Writes requests as tokens, as lm-evaluation-harness does.

    Args:
        hf: the subject's tokenizer.
        config: of its model, of which no weights are needed.
    """

    def __init__(self, hf: Any, config: Any) -> None:
        library()
        self._model = language_model(SimpleNamespace(config=config, device="cpu"), hf)
        self._encode = lru_cache(maxsize=16)(self._model.tok_encode)
        self._model.tok_encode = self._encode  # contexts recur, once a choice

    def pair(self, context: str, continuation: str) -> tuple[NDArray[np.int32], int]:
        """Return the tokens of both, and how many are the continuation's."""
        first, second = self._model._encode_pair(context, continuation)
        return np.array([*first, *second], dtype=np.int32), len(second)


def language_model(model: Any, hf: Any) -> Any:
    """Return a model that is loaded already as lm-evaluation-harness's ``HFLM``."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    made = import_module("lm_eval.models.huggingface").HFLM
    return made(pretrained=model, tokenizer=hf, backend="causal")


def harness_items(
    benchmark: Benchmark, task: Task, n_exemplars: int, encoder: Encoder, progress: Progress
) -> Iterator[Item]:
    """Yield an item for each question, with the requests of lm-evaluation-harness's own task.

    A question whose choices are not as many as the task's wording names is left out and counted.
    The pool of exemplars has no question that is scored; where both are one file, it has none
    that occurs twice, and lm-evaluation-harness passes over the item itself.
    """
    n_choices = _N_CHOICES.get(task)
    asked = [q for q in benchmark.items if n_choices in {None, len(q.choices)}]
    benchmark.counts["other_number_of_choices"] = len(benchmark.items) - len(asked)
    pool = [q for q in benchmark.exemplars if n_choices in {None, len(q.choices)}]
    pool = unique(pool) if benchmark.same_file else apart(pool, asked)
    if task == "mmlu":
        pools, groups = by_subject(pool), by_subject(asked)
    else:
        pools, groups = {"": pool}, {"": asked}
    n_done = 0
    for subject, members in groups.items():
        drawn = _Drawn(pools.get(subject, []))
        made = make_task(
            task, subject, [row_of(q) for q in members], drawn.rows, same_file=benchmark.same_file
        )
        n = drawn.watch(made, n_exemplars)
        benchmark.counts["few_exemplars"] += len(members) * (n < n_exemplars)
        for number, (question, doc) in enumerate(zip(members, made.eval_docs, strict=True)):
            drawn.taken.clear()
            yield _item(made, question, doc, number, n, drawn, encoder)
        n_done += len(members)
        progress(n_done, len(asked), "items")


class _Drawn:
    """Notes which exemplars lm-evaluation-harness draws."""

    def __init__(self, pool: Sequence[Question]) -> None:
        self.rows = [row_of(question) for question in pool]
        self.taken: list[str] = []
        self._ids = {_text(row): q.id for row, q in zip(self.rows, pool, strict=True)}

    def watch(self, task: Any, n_wanted: int) -> int:
        """Seed and watch a task's sampler; return how many exemplars it can draw for each item."""
        passes_over = bool(task.fewshot_cfg.split == task.config.test_split)
        task.set_fewshot_seed(EXEMPLAR_SEED)
        sample = task.sampler.sample

        def noted(*args: Any, **kwargs: Any) -> Any:
            found = list(sample(*args, **kwargs))
            self.taken += [self._ids[_text(row)] for row in found]
            return found

        task.sampler.sample = noted
        return max(0, min(n_wanted, len(self.rows) - passes_over))


def _item(
    task: Any, question: Question, doc: Row, number: int, n: int, drawn: _Drawn, encoder: Encoder
) -> Item:
    context = task.fewshot_context(doc, num_fewshot=n, gen_prefix=task.doc_to_prefix(doc))
    asked = task.construct_requests(doc=doc, ctx=context, metadata=(task.task_name, number, 1))
    pairs = [encoder.pair(*r.args) for r in asked if r.request_type == "loglikelihood"]
    generated = [r.args[0] for r in asked if r.request_type == "generate_until"]
    return Item(
        question,
        tuple(drawn.taken),
        tuple(ids for ids, _ in pairs),
        tuple(n for _, n in pairs),
        document=_text(doc),
        context=generated[0] if generated else None,
    )


def judge(
    task: Any, doc: Row, likelihoods: Sequence[tuple[float, bool]], answer: str | None
) -> dict[str, Any]:
    """Score an item by lm-evaluation-harness's own metrics.

    Args:
        task: of :func:`make_task`.
        doc: the item's row.
        likelihoods: log-likelihood of each request's continuation, and whether it is greedy.
        answer: the generated text (squad).

    Returns:
        The columns ``score`` (acc, or f1 of squad), ``score_norm`` (acc_norm, where the task has
        it), ``exact`` and ``answer`` (squad), ``parsed`` and ``logprobs``.
    """
    columns: dict[str, Any] = {"parsed": True, "logprobs": [value for value, _ in likelihoods]}
    if answer is not None:
        predicted, reference = task.process_results(doc, [answer, *likelihoods])["f1"]
        f1, exact = squad_scores(predicted["prediction_text"], reference["answers"]["text"])
        return columns | {"score": f1, "exact": exact, "answer": answer}
    found = task.process_results(doc, list(likelihoods))
    return columns | {"score": float(found["acc"]), "score_norm": found.get("acc_norm")}


def _text(row: Row) -> str:
    return json.dumps(row, sort_keys=True, ensure_ascii=False)
