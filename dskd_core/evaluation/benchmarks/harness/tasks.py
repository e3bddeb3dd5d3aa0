"""The tasks of lm-evaluation-harness, its own wording, exemplars and metrics, on rows of ours.

Only the data set under a task is replaced: by rows of the same columns as the hub's, made from
the questions that were read, texts as published. Nothing is downloaded.
"""

from collections.abc import Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import yaml

from dskd_core.errors import ConfigError
from dskd_core.evaluation.benchmarks.paper.answers import squad_scores
from dskd_core.prompts.questions import UNANSWERABLE, Question, Task

Row = dict[str, Any]
_FILES: dict[Task, str] = {
    "arc": "arc/arc_challenge.yaml",
    "commonsense_qa": "commonsense_qa/default.yaml",
    "mmlu": "mmlu/default/mmlu_{subject}.yaml",
    "piqa": "piqa/piqa.yaml",
}
N_CHOICES: dict[Task, int] = {"commonsense_qa": 5, "mmlu": 4}
"""How many choices the wording of a task names."""


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
    return metadata.version("lm_eval")


def hub_row(question: Question) -> Row:
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

    ``subject`` is MMLU's, else not looked at. With ``same_file`` the items are among the pool of
    exemplars and are passed over; that is what lm-evaluation-harness does where neither split is
    named.
    """
    library()
    import datasets

    scored = datasets.Dataset.from_list(list(items))
    exemplars = datasets.Dataset.from_list(list(pool or items))
    data = {"train": exemplars, "dev": exemplars, "validation": scored, "test": scored}
    if task == "squad":
        return _squad_task(data)
    definition = _definition(_FILES[task].format(subject=subject))
    definition["custom_dataset"] = lambda **_: data
    if same_file:
        definition |= {"training_split": "train", "validation_split": "validation"}
        definition |= {"test_split": None, "fewshot_split": None}
    return import_module("lm_eval.api.task").ConfigurableTask(config=definition)


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


def score_answer(
    task: Any, doc: Row, likelihoods: Sequence[tuple[float, bool]], answer: str | None
) -> dict[str, Any]:
    """Score an item by lm-evaluation-harness's own metrics.

    ``likelihoods`` are of each request's continuation, and whether it is greedy; ``answer`` is the
    generated text (squad).

    Returns:
        The columns ``score`` (acc, or f1 of squad), ``score_norm`` (acc_norm, where the task has
        it), ``exact`` and ``answer`` (squad), ``parsed`` and ``logprobs``.
    """
    columns: dict[str, Any] = {"parsed": True, "logprobs": [value for value, _ in likelihoods]}
    if answer is not None:
        predicted, reference = task.process_results(doc, [answer, *likelihoods])["f1"]
        f1, exact = squad_scores(predicted["prediction_text"], reference["answers"]["text"])
        return columns | {"score": f1, "exact": exact, "answer": answer}
    metrics = task.process_results(doc, list(likelihoods))
    return columns | {"score": float(metrics["acc"]), "score_norm": metrics.get("acc_norm")}
