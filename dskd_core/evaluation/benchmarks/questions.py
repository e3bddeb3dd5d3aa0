"""Which questions are items, and which may stand before them: no item is ever its own exemplar."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dskd_core.config import BenchmarkConfig, PromptSourceConfig
from dskd_core.corpus.windows import hash64
from dskd_core.errors import DataError
from dskd_core.prompts.questions import Account, Question, Task
from dskd_core.prompts.readers import Split, content_fingerprint, read_questions

_ITEMS: dict[Task, Split] = {
    "arc": "test",
    "commonsense_qa": "validation",  # its test answers are not published
    "mmlu": "test",
    "piqa": "validation",
    "squad": "validation",
}
_EXEMPLARS: dict[Task, Split] = {"mmlu": "validation"}


@dataclass(frozen=True)
class Benchmark:
    """The questions of one benchmark.

    Attributes:
        items: what is scored: answered questions, in the order of their files.
        exemplars: what exemplars are drawn from; the whole file of the items, where that is so.
        same_file: whether it is.
        counts: what was read and left out.
        accounts: what reading met, of items and of exemplars.
    """

    items: list[Question]
    exemplars: list[Question]
    same_file: bool
    counts: Counter[str]
    accounts: dict[str, Account]


def read_benchmark(config: BenchmarkConfig, seed: int) -> Benchmark:
    """Read the items of a benchmark, and the questions their exemplars are drawn from.

    Raises:
        ConfigError: if a place holds no file of the benchmark.
        DataError: if a file cannot be read, or no question has an answer.
    """
    accounts = {"items": Account()}
    questions = list(read_questions(_items(config), accounts["items"], split=_ITEMS[config.task]))
    answered = [question for question in questions if question.answer is not None]
    if not answered:
        raise DataError(
            f"None of the {len(questions)} {config.task} questions of {config.uri!r} has an "
            "answer; name a file whose answers are published."
        )
    items = _sample(answered, config.max_items, seed)
    counts = Counter(
        read=len(questions), without_answer=len(questions) - len(answered), items=len(items)
    )
    source = _exemplars(config)
    if source is None:
        return Benchmark(items, answered, True, counts, accounts)
    accounts["exemplars"] = Account()
    pool = list(read_questions(source, accounts["exemplars"], split=_split(config.task)))
    pool = [question for question in pool if question.answer is not None]
    counts["exemplars_that_are_items"] = len(pool) - len(apart(pool, items))
    return Benchmark(items, pool, False, counts, accounts)


def contents(config: BenchmarkConfig) -> dict[str, str]:
    """Return what names the content a benchmark is read from: hashes, or hub revisions."""
    found = {"items": content_fingerprint(_items(config), split=_ITEMS[config.task])}
    if source := _exemplars(config):
        found["exemplars"] = content_fingerprint(source, split=_split(config.task))
    return found


def apart(pool: Iterable[Question], items: Iterable[Question]) -> list[Question]:
    """Return the questions of a pool that are none of the items, under whatever id.

    >>> item = Question("arc/1", "arc", "", "What floats?", ("tin", "wood"))
    >>> same = Question("arc/9", "arc", "", "what floats", ("Wood.", "tin"))
    >>> apart([same], [item])
    []
    """
    known = {item.fingerprint for item in items}
    return [question for question in pool if question.fingerprint not in known]


def unique(questions: Sequence[Question]) -> list[Question]:
    """Return the questions that no other one of them repeats."""
    n = Counter(question.fingerprint for question in questions)
    return [question for question in questions if n[question.fingerprint] == 1]


def by_subject(questions: Iterable[Question]) -> dict[str, list[Question]]:
    """Return questions by their subject, subjects sorted."""
    found: defaultdict[str, list[Question]] = defaultdict(list)
    for question in questions:
        found[question.subject].append(question)
    return dict(sorted(found.items()))


def _sample(questions: list[Question], n: int | None, seed: int) -> list[Question]:
    """Take the ``n`` questions whose ids have the smallest hashes, in the order of their files."""
    if n is None or n >= len(questions):
        return questions
    order = sorted(questions, key=lambda q: (hash64(q.id, purpose="items", seed=seed), q.id))
    taken = {question.id for question in order[:n]}
    return [question for question in questions if question.id in taken]


def _split(task: Task) -> Split:
    return _EXEMPLARS.get(task, "train")


def _items(config: BenchmarkConfig) -> PromptSourceConfig:
    return PromptSourceConfig(task=config.task, uri=config.uri, labels_uri=config.labels_uri)


def _exemplars(config: BenchmarkConfig) -> PromptSourceConfig | None:
    if config.exemplars_uri is None:
        return None
    return PromptSourceConfig(
        task=config.task, uri=config.exemplars_uri, labels_uri=config.exemplars_labels_uri
    )
