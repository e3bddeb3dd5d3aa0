"""One row of a benchmark, as its authors publish it or as the hub flattens it, as a question.

Each function yields the question, or nothing where the row is dirty, which it counts.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from dskd_core.corpus.windows import hash64
from dskd_core.prompts.questions import UNANSWERABLE, Account, Question, Task, labels_of, readable

Row = dict[str, Any]


def choice_row(task: Task, row: Row, place: str, account: Account) -> Iterator[Question]:
    """Read one row of ARC or CommonsenseQA."""
    body = row.get("question")
    stem, choices = body, row.get("choices")
    if isinstance(body, dict):
        stem, choices = body.get("stem"), body.get("choices")
    if isinstance(choices, dict):
        pairs = zip(_list(choices.get("label")), _list(choices.get("text")), strict=False)
        choices = [{"label": label, "text": text} for label, text in pairs]
    rows = objects_in(choices)
    labels = [str(c.get("label", "")).strip() for c in rows]
    yield from _with_choices(
        task,
        str(row.get("id") or place),
        stem,
        [c.get("text") for c in rows],
        _index(row.get("answerKey"), labels),
        account,
    )


def mmlu_row(
    subject: str, text: Any, choices: Sequence[Any], key: Any, name: str, account: Account
) -> Iterator[Question]:
    """Read one row of MMLU; the answer is a letter or a number counted from 0."""
    key = "" if key is None else str(key).strip().upper()
    numbers = [str(number) for number in range(len(choices))]
    answer = _index(key, numbers if key.isdigit() else labels_of("mmlu", len(choices)))
    yield from _with_choices("mmlu", name, text, choices, answer, account, subject=subject)


def piqa_row(row: Row, name: str, key: Any, account: Account) -> Iterator[Question]:
    """Read one row of PIQA; its label, 0 or 1, lies in a file of its own."""
    key = None if str(key) == "-1" else key  # the hub's mark of an unpublished answer
    choices = [row.get("sol1"), row.get("sol2")]
    yield from _with_choices(
        "piqa", name, row.get("goal"), choices, _index(key, ("0", "1")), account
    )


def squad_row(row: Row, account: Account) -> Iterator[Question]:
    """Read one question of SQuAD, its passage (``context``) and title in the same row."""
    question_id = f"squad/{row.get('id')}"
    text, context = row.get("question"), row.get("context")
    if not (row.get("id") and isinstance(text, str) and isinstance(context, str) and text.strip()):
        account.note("missing_field", question_id)
        return
    context = account.clean(context, question_id)
    yield Question(
        question_id,
        "squad",
        account.clean(str(row.get("title") or ""), question_id),
        account.clean(text, question_id),
        answers=_squad_answers(row, question_id, account),
        context=context,
        paragraph=f"{hash64(context, purpose='paragraph'):016x}",
        verbatim=(readable(text), readable(row["context"])),
    )


def _squad_answers(row: Row, question_id: str, account: Account) -> tuple[str, ...]:
    """Return the distinct answers; an empty list says unanswerable, anything else says nothing."""
    found = row.get("answers")
    if isinstance(found, dict):  # as the hub has them
        given = found.get("text")
        texts = _list(given)
    else:
        given, texts = found, [answer.get("text") for answer in objects_in(found)]
    if row.get("is_impossible") or given == []:
        return (UNANSWERABLE,)
    kept = (account.clean(text, question_id) for text in texts if isinstance(text, str))
    return tuple(dict.fromkeys(text for text in kept if text))


def objects_in(values: Any) -> list[Row]:
    """Return the objects of a JSON list; anything else has none."""
    return [v for v in _list(values) if isinstance(v, dict)]


def _list(values: Any) -> list[Any]:
    return values if isinstance(values, list) else []


def _with_choices(
    task: Task,
    name: str,
    text: Any,
    choices: Sequence[Any],
    answer: int | None,
    account: Account,
    *,
    subject: str = "",
) -> Iterator[Question]:
    """Check and clean one multiple-choice question; ``answer`` -1 is none of its choices."""
    question_id = f"{task}/{name}"
    texts = [t for t in (text, *choices) if isinstance(t, str)]
    if len(choices) < 2 or len(texts) <= len(choices) or not texts[0].strip():
        account.note("missing_field", question_id)
    elif answer is not None and not 0 <= answer < len(choices):
        account.note("bad_answer", question_id)
    else:
        labels = labels_of(task, len(choices))
        yield Question(
            question_id,
            task,
            subject,
            account.clean(text, question_id),
            tuple(account.clean(choice, question_id) for choice in choices),
            () if answer is None else (labels[answer],),
            verbatim=tuple(map(readable, texts)),
        )


def _index(key: Any, labels: Sequence[str]) -> int | None:
    """Return which label an answer key names; None for a missing key, -1 for an unknown one.

    >>> _index("2", ["1", "2", "3"]), _index("", ["A", "B"]), _index("E", ["A", "B"])
    (1, None, -1)
    """
    key = "" if key is None else str(key).strip()
    if not key:
        return None
    return list(labels).index(key) if key in labels else -1
