"""Which answered questions stand before a question: a draw that depends on its id and the seed."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator

from dskd_core.corpus.windows import hash64
from dskd_core.prompts.questions import Question

_DRAWS = 8
"""Draws for each exemplar wanted, so that the few that may not be taken leave enough."""


class Pool:
    """Questions exemplars are drawn from.

    Those without an answer are passed over; ``heldout`` groups are never exemplars of a question
    outside of them.
    """

    def __init__(
        self, questions: Iterable[Question], heldout: Collection[str] = (), *, seed: int = 0
    ) -> None:
        self._seed = seed
        self._kinds: defaultdict[tuple[str, ...], list[Question]] = defaultdict(list)
        for question in sorted(questions, key=lambda q: q.id):
            if question.answer is not None:
                for kind in _kinds(question, question.group in heldout):
                    self._kinds[kind].append(question)

    def draw(self, question: Question, n_exemplars: int) -> list[Question]:
        """Return ``n_exemplars`` random questions of the same kind, fewer where there are fewer.

        The kind is the passage (squad), else the subject where it has enough, else the benchmark.
        None is the question itself, under whatever id, and none comes twice. The draw is a hash of
        the question's id and the seed: neither order nor number of shards changes it.
        """
        found: list[Question] = []
        for kind in _kinds(question, heldout=False):
            found = self._pick(self._kinds.get(kind, []), question, n_exemplars)
            if len(found) == n_exemplars:
                break
        return found

    def _pick(self, pool: list[Question], question: Question, n: int) -> list[Question]:
        taken: list[Question] = []
        used = {question.fingerprint}
        for candidate in self._shuffled(pool, question, n):
            if len(taken) == n:
                break
            if candidate.id != question.id and candidate.fingerprint not in used:
                taken.append(candidate)
                used.add(candidate.fingerprint)
        return taken

    def _shuffled(self, pool: list[Question], question: Question, n: int) -> Iterator[Question]:
        """Yield a small pool in a random order, or enough random members of a large one."""
        n_draws = _DRAWS * (n + 1)
        if len(pool) > n_draws:
            yield from (pool[self._hash(question, i) % len(pool)] for i in range(n_draws))
        else:
            yield from sorted(pool, key=lambda candidate: self._hash(question, candidate.id))

    def _hash(self, question: Question, draw: int | str) -> int:
        return hash64(f"{question.id}\x1f{draw}", purpose="exemplars", seed=self._seed)


def _kinds(question: Question, heldout: bool) -> list[tuple[str, ...]]:
    """Return where exemplars are looked for, the nearest kind first.

    A passage is held out as a whole, so its own questions may serve each other.
    """
    if question.paragraph:
        return [(question.task, "paragraph", question.paragraph)]
    return [] if heldout else [(question.task, "subject", question.subject), (question.task,)]
