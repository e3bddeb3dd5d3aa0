"""Which questions are asked, and how: the sample, what is held out, and the written prompts."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dskd_core.config import PromptsConfig, PromptSourceConfig
from dskd_core.corpus.windows import choose_heldout, hash64
from dskd_core.progress import Progress, silent
from dskd_core.prompts.chat import ChatFormat, Message, messages
from dskd_core.prompts.exemplars import Pool
from dskd_core.prompts.questions import Question

_BLOCK = 512  # prompts tokenized at a time


@dataclass(frozen=True)
class Prompt:
    """A question as the teacher is asked it.

    Attributes:
        question: what is asked.
        exemplars: ids of the answered questions before it.
        ids: int32, the prompt's tokens without the prefix.
        answer_tokens: most tokens of the teacher's answer.
        heldout: whether it is kept for evaluation.
    """

    question: Question
    exemplars: tuple[str, ...]
    ids: NDArray[np.int32]
    answer_tokens: int
    heldout: bool

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of its tokens."""
        return f"{hash64(' '.join(map(str, self.ids.tolist())), purpose='prompt'):016x}"


@dataclass
class Tally:
    """What became of the questions, by benchmark: ``counts["arc"]["taken"]``."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, task: str, name: str, n: int = 1) -> None:
        """Count ``n`` more of ``name``."""
        self.counts.setdefault(task, Counter())[name] += n

    def report(self) -> dict[str, dict[str, int]]:
        """Return the counts as plain values."""
        return {task: dict(sorted(counts.items())) for task, counts in sorted(self.counts.items())}


def sample(questions: Sequence[Question], source: PromptSourceConfig, seed: int) -> list[Question]:
    """Take a share of a source's questions: those whose ids have the smallest hashes.

    Sources of equal shares are so taken in proportion to their size, and neither the order of a
    file nor the other sources change the choice.

    Returns:
        round(share * n) questions, at most ``max_prompts``, in the order of their hashes.
    """
    n = round(source.share * len(questions))
    n = n if source.max_prompts is None else min(n, source.max_prompts)
    order = sorted(questions, key=lambda q: (hash64(q.id, purpose="prompts", seed=seed), q.id))
    return order[:n]


def write_prompts(
    questions: Sequence[Sequence[Question]],
    config: PromptsConfig,
    chat: ChatFormat,
    tally: Tally,
    most_positions: int | None = None,
    *,
    progress: Progress = silent,
) -> Iterator[Prompt]:
    """Yield the prompts of all sources, shuffled together by a hash of their questions' ids.

    A group of questions (a passage, else the question alone) is held out as a whole, and no
    held-out question is an exemplar of one that is trained on. ``questions`` are those of each
    source of ``config.sources``. Prompt and answer have at most ``most_positions`` tokens together,
    if given.
    """
    taken = [
        (question, source)
        for source, members in zip(config.sources, questions, strict=True)
        for question in sample(members, source, config.seed)
    ]
    taken.sort(key=lambda pair: hash64(pair[0].id, purpose="order", seed=config.seed))
    groups = [question.group for question, _ in taken]
    flags = choose_heldout(groups, config.heldout_share, config.seed)
    heldout = {group for group, flag in zip(groups, flags, strict=True) if flag}
    pool = Pool((q for members in questions for q in members), heldout, seed=config.seed)
    for start in range(0, len(taken), _BLOCK):
        block = [
            (question, source, pool.draw(question, source.n_exemplars))
            for question, source in taken[start : start + _BLOCK]
        ]
        chats = [messages(question, exemplars) for question, _, exemplars in block]
        encoded = chat.encode(chats)
        for (question, source, exemplars), turns, ids in zip(block, chats, encoded, strict=True):
            tally.add(question.task, "taken")
            room = (most_positions or math.inf) - source.answer_tokens
            if reason := _why_not(turns, ids, chat, min(room, config.max_prompt_tokens)):
                tally.add(question.task, reason)
                continue
            tally.add(question.task, "exemplars", len(exemplars))
            tally.add(question.task, "few_exemplars", int(len(exemplars) < source.n_exemplars))
            yield Prompt(
                question,
                tuple(exemplar.id for exemplar in exemplars),
                np.array(ids, dtype=np.int32),
                source.answer_tokens,
                question.group in heldout,
            )
        progress(start + len(block), len(taken), "prompts")


def _why_not(
    turns: Sequence[Message], ids: Sequence[int], chat: ChatFormat, most_tokens: float
) -> str | None:
    if chat.holds_marker(turns):
        return "holds_marker"
    return "too_long" if len(chat.prefix) + len(ids) > most_tokens else None
