"""Questions of the five benchmarks, the account of reading them, and when two are the same."""

import re
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from string import ascii_uppercase
from typing import Any, ClassVar, Literal

from dskd_core.corpus.windows import hash64
from dskd_core.dirty_rows import DirtyRows

Task = Literal["arc", "commonsense_qa", "mmlu", "piqa", "squad"]
UNANSWERABLE = "no answer"
"""The answer to a question whose passage holds none."""
LICENCES: dict[Task, str] = {
    "arc": "CC BY-SA 4.0",
    "commonsense_qa": "MIT",
    "mmlu": "MIT",
    "piqa": "AFL 3.0",
    "squad": "CC BY-SA 4.0",
}

DIRTY = {
    "broken_line": "a line that is not JSON, or says a key twice",
    "long_line": "a line of more bytes than dskd reads of one",
    "open_quote": "a csv row whose quotation marks are not closed",
    "not_an_object": "a line or an entry that is JSON but no object",
    "missing_field": "a row without an id, a question or two choices",
    "bad_answer": "a row whose answer is none of its choices",
    "wrong_columns": "a csv row without a question, two choices and an answer",
    "duplicate_id": "a question whose id was taken",
}
NOTED = {
    "no_answer": "a question without a published answer; asked, but never an exemplar",
    "invalid_character": "characters no text may have, now U+FFFD",
}
_INVALID = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffd-\uffff]")
_ARTICLES = re.compile(r"\b(a|an|the)\b")


@dataclass(frozen=True)
class Question:
    """One question of a benchmark, in one form whatever its authors' file looks like.

    Attributes:
        id: ``TASK/...``, unique in a benchmark.
        task: the benchmark.
        subject: what MMLU files it under, or a passage's title; else empty.
        text: the question, or PIQA's goal.
        choices: their texts in the published order; none for squad.
        answers: the accepted answers: a label of ``labels``, or texts (squad, where
            ``no answer`` marks an unanswerable question); none where unpublished.
        context: the passage (squad).
        paragraph: names the passage; else empty.
        verbatim: text and choices, or text and passage, with their outer space as published.
    """

    id: str
    task: Task
    subject: str
    text: str
    choices: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    context: str = ""
    paragraph: str = ""
    verbatim: tuple[str, ...] = field(default=(), compare=False, repr=False)

    @property
    def answer(self) -> str | None:
        """The answer shown where the question is an exemplar."""
        return self.answers[0] if self.answers else None

    @property
    def labels(self) -> tuple[str, ...]:
        """What the choices are called.

        >>> Question("piqa/1", "piqa", "", "Dry a cup.", ("Towel.", "Hose.")).labels
        ('1', '2')
        """
        return labels_of(self.task, len(self.choices))

    @property
    def group(self) -> str:
        """Questions of one group are held out together: those of one passage share its text."""
        return self.paragraph or self.id

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of the normalised question with its choices and passage.

        Case, punctuation, spacing and the order of the choices do not matter. Choices count,
        because PIQA's goals and MMLU's "Which of these is true?" recur with others.
        """
        choices = sorted(map(_normalised, self.choices))
        parts = [_normalised(self.text), _normalised(self.context), *choices]
        return f"{hash64(chr(31).join(parts), purpose='question'):016x}"


@dataclass
class Account(DirtyRows):
    """What reading met, counted by code (the keys of ``DIRTY`` and ``NOTED``)."""

    codes: ClassVar = DIRTY | NOTED

    n_read: int = 0

    def clean(self, text: str, place: str) -> str:
        """Return ``text`` without outer space and without characters that no text may have."""
        text, n = _INVALID.subn("\ufffd", text)
        if n:
            self.note("invalid_character", place)
        return text.strip()

    def report(self) -> dict[str, Any]:
        """Return the account as plain values, for the record of an artifact."""
        return {
            "read": self.n_read,
            "dirty": self.counted(DIRTY),
            "noted": self.counted(NOTED),
            "places": self.sorted_places(),
            "meaning": {code: self.codes[code] for code in sorted(self.places)},
        }


def readable(text: str) -> str:
    """Return ``text`` with U+FFFD for every character that no text may have."""
    return _INVALID.sub("\ufffd", text)


def labels_of(task: Task, n_choices: int) -> tuple[str, ...]:
    """Return what a benchmark's choices are called: 1 and 2 for piqa, letters elsewhere."""
    return tuple("123456789"[:n_choices] if task == "piqa" else ascii_uppercase[:n_choices])


def agrees(task: Task, answers: Sequence[str], text: str) -> bool:
    """Say whether a written answer is one of the accepted ones.

    A choice agrees by its label alone, with a full stop or a bracket at most; a passage's answer
    by its first line without case, punctuation and articles, as SQuAD's exact match.

    >>> agrees("arc", ["B"], " B."), agrees("arc", ["B"], "Because")
    (True, False)
    """
    first = text.strip().partition("\n")[0]
    if task != "squad":
        return first.strip(" .:()").upper() in answers
    return _without_articles(first) in {_without_articles(answer) for answer in answers}


def _normalised(text: str) -> str:
    """Return lower-case words and symbols without punctuation, one space between."""
    text = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(text.translate(_spaces_for_punctuation()).split())


@cache
def _spaces_for_punctuation() -> dict[int, str]:
    return {i: " " for i in range(sys.maxunicode) if unicodedata.category(chr(i))[0] == "P"}


def _without_articles(text: str) -> str:
    return " ".join(_ARTICLES.sub(" ", _normalised(text)).split())
