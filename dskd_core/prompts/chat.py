"""A prompt's wording: exemplars and question as a chat, in the form the teacher was tuned on.

With a chat template, turns of user and assistant that end where the assistant is to speak.
Without one, the plain format: what the user says, a line ``Answer: B``, an empty line, and so on;
the last line is ``Answer:``.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dskd_core.decoder.tokenizer import Tokenizer
from dskd_core.errors import ConfigError
from dskd_core.prompts.questions import UNANSWERABLE, Question
from dskd_core.prompts.rendering import render
from dskd_core.store.artifacts import fingerprint_of

Message = dict[str, str]

WORDING = 1
"""Raised when the wording below changes, since prompts are then other prompts."""
_PASSAGE = f"Answer with a few words of the passage, or with: {UNANSWERABLE}"
_LETTER = "Answer with the letter of the right choice."
_NUMBER = "Answer with the number of the better way."
# Some templates print the day, or let the model think aloud, unless told otherwise.
_TEMPLATE_VALUES = {"date_string": "26 Jul 2024", "enable_thinking": False}


def wording(question: Question, *, with_passage: bool = True) -> str:
    r"""Return what the user says.

    >>> print(wording(Question("piqa/1", "piqa", "", "Dry a cup.", ("Towel.", "Hose."))))
    Dry a cup.
    1. Towel.
    2. Hose.
    Answer with the number of the better way.
    """
    if question.task == "squad":
        passage = [question.context, ""] if with_passage else []
        return "\n".join([*passage, question.text, _PASSAGE])
    choices = zip(question.labels, question.choices, strict=True)
    lines = [f"{label}. {choice}" for label, choice in choices]
    return "\n".join([question.text, *lines, _NUMBER if question.task == "piqa" else _LETTER])


def messages(question: Question, exemplars: Sequence[Question]) -> list[Message]:
    """Return the chat: every exemplar with its answer, then the question.

    A passage is told once, in the first turn of those that ask about it.
    """
    chat: list[Message] = []
    told = ""
    for turn in (*exemplars, question):
        content = wording(turn, with_passage=turn.paragraph != told)
        told = turn.paragraph
        chat.append({"role": "user", "content": content})
        if turn is not question:
            chat.append({"role": "assistant", "content": str(turn.answer)})
    return chat


@dataclass(frozen=True)
class ChatFormat:
    """How a teacher's tokenizer writes a chat as token ids."""

    tokenizer: Tokenizer

    @property
    def has_template(self) -> bool:
        """Whether the tokenizer brings a chat template."""
        return bool(getattr(self.tokenizer.hf, "chat_template", None))

    @cached_property
    def fingerprint(self) -> str:
        """Changes when a chat could be written otherwise."""
        template = self.tokenizer.hf.chat_template if self.has_template else "plain"
        return fingerprint_of([WORDING, json.dumps(template, sort_keys=True)])

    @cached_property
    def prefix(self) -> tuple[int, ...]:
        """What the model is given before every prompt and what :meth:`encode` leaves out.

        The tokenizer's own prefix (BOS), unless its template starts a chat without it: the
        template decides, and BOS is never there twice.
        """
        prefix = self.tokenizer.prefix
        if not self.has_template:
            return tuple(prefix)
        ids = self._ids([self.text([{"role": "user", "content": "a"}])])[0]
        return tuple(prefix) if ids[: len(prefix)] == prefix else ()

    @cached_property
    def markers(self) -> tuple[str, ...]:
        """Texts the tokenizer reads as a special token wherever they stand."""
        added = getattr(self.tokenizer.hf, "added_tokens_decoder", {}).values()
        return tuple(sorted({token.content for token in added if token.special}))

    def holds_marker(self, chat: Sequence[Message]) -> bool:
        """Say whether a text of the chat would be read as a special token and break the turns."""
        if not self.has_template:
            return False
        return any(marker in turn["content"] for turn in chat for marker in self.markers)

    @cached_property
    def _template(self) -> tuple[str, dict[str, Any], str]:
        """The template, what it may name besides the chat, and whose it is."""
        hf = self.tokenizer.hf
        owner = str(hf.name_or_path) or "the tokenizer"
        try:
            template = hf.get_chat_template()
        except ValueError as error:  # several, and none is the default
            raise ConfigError(
                f"The tokenizer of {owner} has several chat templates and none named default; "
                "name one of them default."
            ) from error
        special = {name: _plain(value) for name, value in hf.special_tokens_map.items()}
        return template, special | _TEMPLATE_VALUES, owner

    def text(self, chat: Sequence[Message]) -> str:
        """Return a chat as text that ends where the assistant is to speak.

        Raises:
            ConfigError: if the template fails, or needs more than ``rendering.py`` gives it.
        """
        if self.has_template:
            template, values, owner = self._template
            return render(template, values, chat, owner)
        turns = [
            f"{turn['content']}\nAnswer:" if turn["role"] == "user" else f" {turn['content']}\n\n"
            for turn in chat
        ]
        return "".join(turns)

    def encode(self, chats: Sequence[Sequence[Message]]) -> list[list[int]]:
        """Return the token ids of chats, without :attr:`prefix`."""
        texts = [self.text(chat) for chat in chats]
        if not self.has_template:
            return [self.tokenizer.encode(text) for text in texts]
        return [ids[len(self.prefix) :] for ids in self._ids(texts)]

    def _ids(self, texts: list[str]) -> list[list[int]]:
        """Return the ids of texts in which special tokens are spelled out."""
        ids = self.tokenizer.hf(texts, add_special_tokens=False, verbose=False).input_ids
        return [list(row) for row in ids]


def _plain(value: Any) -> Any:
    return list(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
