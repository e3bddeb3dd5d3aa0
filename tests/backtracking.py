"""A matcher of Python's regular expressions that counts its steps, and texts to attack one with.

It backtracks as Python's own does, one place after the other, but without its short cuts. Bounds
of repetitions are made small, so that what takes a bounded time takes it at small sizes, too.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from re import _compiler, _constants, _parser  # type: ignore[attr-defined]
from typing import Any

MOST_STEPS = 60_000
_BOUND = 3
_REPEATS = (_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT)
_ONE = (_constants.LITERAL, _constants.NOT_LITERAL, _constants.ANY, _constants.IN)
_OTHERS = " a0\n"
Nodes = list[tuple[Any, Any]]


class TooManyStepsError(Exception):
    """A text takes more steps than any that is matched in proportion to its length."""


class Attacked:
    """One regular expression."""

    def __init__(self, pattern: str, flags: int) -> None:
        self._tree = _parser.parse(pattern, flags)
        self._state, self._flags = self._tree.state, self._tree.state.flags
        self._is_one = lru_cache(maxsize=None)(self._matches_one)
        self._at = lru_cache(maxsize=None)(self._compiled)
        self._letters = self._sorted_letters(pattern)
        self._nodes: dict[int, tuple[Any, Any]] = {}
        self.n_steps = 0

    def steps(self, text: str, *, is_searched: bool) -> int:
        """Return the steps of matching a text at its start, or of finding all that is in it."""
        self.n_steps, start = 0, 0
        while start <= len(text):
            end = self._first(list(self._tree), self._flags, text, start)
            if not is_searched:
                break
            start = max(end, start + 1)
        return self.n_steps

    def texts(self) -> Iterator[tuple[str, str, str]]:
        """Yield texts to attack it with, as what comes first, what is repeated, what comes last."""
        found = dict.fromkeys(("", letter, "") for letter in self._letters)
        for variant in range(2):
            for head, body in self._repeats(list(self._tree), self._flags, "", variant):
                for pump in (body, body * 2 + head):
                    found |= dict.fromkeys((head, pump, tail) for tail in ("", "\0"))
                found[("", head + body, "")] = None
        return (one for one in found if one[1])

    def _first(self, nodes: Nodes, flags: int, text: str, place: int) -> int:
        ends: list[int] = []

        def is_found(end: int) -> bool:
            ends.append(end)
            return True

        return ends[-1] if self._match(nodes, 0, flags, text, place, {}, is_found) else -1

    def _matches_one(self, node_id: int, flags: int, letter: str) -> bool:
        return self._compiled(node_id, flags).fullmatch(letter) is not None

    def _compiled(self, node_id: int, flags: int) -> re.Pattern[str]:
        only = _parser.SubPattern(self._state, [self._nodes[node_id]])
        return _compiler.compile(only, flags)

    def _is_letter(self, node: tuple[Any, Any], flags: int, letter: str) -> bool:
        self._nodes[id(node)] = node
        return self._is_one(id(node), flags, letter)

    def _match(
        self,
        nodes: Nodes,
        number: int,
        flags: int,
        text: str,
        place: int,
        groups: dict[int, tuple[int, int]],
        then: Callable[[int], bool],
    ) -> bool:
        """Say whether the nodes from one on match at a place, and ``then`` is true of their end."""
        self.n_steps += 1
        if self.n_steps > MOST_STEPS:
            raise TooManyStepsError
        if number == len(nodes):
            return then(place)
        kind, value = nodes[number]

        def rest(end: int) -> bool:
            return self._match(nodes, number + 1, flags, text, end, groups, then)

        if kind is _constants.BRANCH:
            return any(self._match(list(b), 0, flags, text, place, groups, rest) for b in value[1])
        if kind in _REPEATS:
            return self._repeat(kind, value, flags, text, place, groups, rest)
        if kind is not _constants.SUBPATTERN:
            end = self._end(nodes[number], flags, text, place, groups)
            return end >= 0 and rest(end)
        group, more, less, inner = value

        def closed(end: int) -> bool:
            before = groups.get(group, (0, 0))
            groups[group] = (place, end)
            if rest(end):
                return True
            groups[group] = before
            return False

        inside = (flags | more) & ~less
        return self._match(list(inner), 0, inside, text, place, groups, closed)

    def _end(
        self,
        node: tuple[Any, Any],
        flags: int,
        text: str,
        place: int,
        groups: dict[int, tuple[int, int]],
    ) -> int:
        """Return where a node ends that matches in one way or none; -1 if it does not."""
        kind, value = node
        holds, end = False, place
        if kind in _ONE:
            holds = place < len(text) and self._is_letter(node, flags, text[place])
            end = place + 1
        elif kind is _constants.ATOMIC_GROUP:
            end = self._first(list(value), flags, text, place)
            holds = True
        elif kind in (_constants.ASSERT, _constants.ASSERT_NOT):
            direction, inner = value
            start = place if direction > 0 else place - inner.getwidth()[0]
            is_there = start >= 0 and self._first(list(inner), flags, text, start) >= 0
            holds = is_there == (kind is _constants.ASSERT)
        elif kind is _constants.GROUPREF:
            start, stop = groups.get(value, (0, 0))
            holds, end = text.startswith(text[start:stop], place), place + stop - start
        elif kind is _constants.AT:
            self._nodes[id(node)] = node
            holds = self._at(id(node), flags).match(text, place) is not None
        else:
            raise NotImplementedError(str(kind))
        return end if holds else -1

    def _repeat(
        self,
        kind: Any,
        value: tuple[int, int, Any],
        flags: int,
        text: str,
        place: int,
        groups: dict[int, tuple[int, int]],
        rest: Callable[[int], bool],
    ) -> bool:
        least, most, inner = value
        bounded = most is not _constants.MAXREPEAT
        least, most = min(least, _BOUND), min(most, _BOUND) if bounded else len(text)
        nodes = list(inner)
        if len(nodes) == 1 and nodes[0][0] in _ONE:
            return self._repeat_one(kind, nodes[0], (least, most), flags, text, place, rest)

        def once_more(n_done: int, start: int) -> bool:
            def done(end: int) -> bool:
                return (end > start or n_done < least) and once_more(n_done + 1, end)

            is_more = n_done < most
            if kind is _constants.MIN_REPEAT and n_done >= least and rest(start):
                return True
            if is_more and self._match(nodes, 0, flags, text, start, groups, done):
                return True
            return kind is not _constants.MIN_REPEAT and n_done >= least and rest(start)

        if kind is _constants.POSSESSIVE_REPEAT:
            end, n_done = place, 0
            while n_done < most and (further := self._first(nodes, flags, text, end)) > end:
                end, n_done = further, n_done + 1
            return n_done >= least and rest(end)
        return once_more(0, place)

    def _repeat_one(
        self,
        kind: Any,
        node: tuple[Any, Any],
        bounds: tuple[int, int],
        flags: int,
        text: str,
        place: int,
        rest: Callable[[int], bool],
    ) -> bool:
        least, most = bounds
        n_there = 0
        while (
            n_there < most
            and place + n_there < len(text)
            and self._is_letter(node, flags, text[place + n_there])
        ):
            n_there += 1
            self.n_steps += 1
        counts = range(n_there, least - 1, -1)
        if kind is _constants.MIN_REPEAT:
            counts = range(least, n_there + 1)
        if kind is _constants.POSSESSIVE_REPEAT:
            counts = range(n_there, n_there + 1) if n_there >= least else range(0)
        return any(rest(place + n) for n in counts)

    def _sorted_letters(self, pattern: str) -> list[str]:
        """Return the letters that attacks are made of: those of the pattern, and a few others."""
        found = dict.fromkeys(_OTHERS)

        def look(nodes: Any) -> None:
            for kind, value in nodes:
                if kind in (_constants.LITERAL, _constants.NOT_LITERAL):
                    found[chr(value)] = None
                elif kind is _constants.IN:
                    look(v for v in value if v[0] in (_constants.LITERAL, _constants.NOT_LITERAL))
                for inner in _inner(kind, value):
                    look(inner)

        look(self._tree)
        return list(found)

    def _sample(self, nodes: Nodes, flags: int, variant: int) -> str:
        """Return a text that nodes match, but for what stands before and after it."""
        texts = []
        for node in nodes:
            kind, value = node
            if kind in _ONE:
                letters = self._letters if variant == 0 else reversed(self._letters)
                fitting = (one for one in letters if self._is_letter(node, flags, one))
                texts.append(chr(value) if kind is _constants.LITERAL else next(fitting, "~"))
            elif kind is _constants.BRANCH:
                texts.append(self._sample(list(value[1][-variant]), flags, variant))
            elif kind in _REPEATS:
                texts.append(self._sample(list(value[2]), flags, variant) * min(value[0], 40))
            elif kind is _constants.SUBPATTERN:
                texts.append(self._sample(list(value[3]), flags | value[1], variant))
            elif kind is _constants.ATOMIC_GROUP:
                texts.append(self._sample(list(value), flags, variant))
        return "".join(texts)

    def _repeats(
        self, nodes: Nodes, flags: int, head: str, variant: int
    ) -> Iterator[tuple[str, str]]:
        """Yield for every repetition what leads to it, and what is repeated."""
        for node in nodes:
            kind, value = node
            if kind in _REPEATS:
                yield head, self._sample(list(value[2]), flags, variant)
            for inner in _inner(kind, value):
                yield from self._repeats(list(inner), flags, head, variant)
            head += self._sample([node], flags, variant)


def _inner(kind: Any, value: Any) -> list[Any]:
    """Return the lists of nodes in a node."""
    if kind in _REPEATS:
        return [value[2]]
    if kind is _constants.BRANCH:
        return list(value[1])
    if kind is _constants.SUBPATTERN:
        return [value[3]]
    if kind is _constants.ATOMIC_GROUP:
        return [value]
    if kind in (_constants.ASSERT, _constants.ASSERT_NOT):
        return [value[1]]
    return []


def worst_growth(pattern: re.Pattern[str], *, is_searched: bool, n: int = 6) -> tuple[float, str]:
    """Return how many times as many steps the worst text takes at four times the size.

    Returns:
        The quotient, 4 where steps are in proportion to the length; and what was repeated.
    """
    attacked, worst = Attacked(pattern.pattern, pattern.flags), (0.0, "")
    for head, pump, tail in attacked.texts():
        try:
            many = attacked.steps(head + pump * 4 * n + tail, is_searched=is_searched)
            few = attacked.steps(head + pump * n + tail, is_searched=is_searched)
        except (TooManyStepsError, RecursionError):
            return float("inf"), pump
        worst = max(worst, (many / few, pump))
    return worst
