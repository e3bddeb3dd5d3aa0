"""An error without its secrets: its message, arguments, attributes, notes, and all behind it.

What is done to a text is given; nothing here knows what a secret is.
"""

import pickle
import pickletools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Clean = Callable[[str], str]
_MOST_DEEP = 20
_PLAIN = (int, float, complex, bool, type(None), type)


def without_secrets(error: BaseException, clean: Clean) -> BaseException:
    """Return ``error`` itself, changed where it showed a secret, or what stands for it.

    Args:
        error: it, its causes, contexts and members of groups are changed in place.
        clean: returns a text without its secrets.
    """
    return _Cleaning(clean).error(error)


class _Cleaning:
    """One walk over an error and what is behind it."""

    def __init__(self, clean: Clean) -> None:
        self._clean = clean
        self._known: dict[int, tuple[BaseException, BaseException]] = {}  # keeps both alive

    def error(self, error: BaseException) -> BaseException:
        """Clean one error; one met again is not walked twice."""
        if (found := self._known.get(id(error))) is not None:
            return found[1]
        self._known[id(error)] = (error, error)
        error.args = tuple(self.value(argument) for argument in error.args)
        self._attributes(error)
        self._behind(error)
        if isinstance(error, BaseExceptionGroup):
            made: BaseException = self._group(error)
        elif self._still_shows(error):
            made = self._stand_in(error)
        else:
            return error
        self._known[id(error)] = (error, made)
        return made

    def value(self, value: Any, depth: int = 0) -> Any:
        """Clean what an error carries; whatever holds no text keeps its identity."""
        if isinstance(value, _PLAIN):
            return value
        if isinstance(value, BaseException):
            return self.error(value)
        if depth < _MOST_DEEP and isinstance(value, Mapping | list | tuple | set | frozenset):
            return self._members(value, depth + 1)
        text = _text(value)
        if (clean := self._clean(text)) == text:
            return value
        return clean.encode("utf-8", "surrogateescape") if isinstance(value, bytes) else clean

    def _members(self, value: Any, depth: int) -> Any:
        pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
        before = [member for pair in pairs for member in pair]
        after = [self.value(member, depth) for member in before]
        if all(a is b for a, b in zip(before, after, strict=True)):
            return value
        names, members = after[::2], after[1::2]
        if isinstance(value, Mapping):
            return dict(zip(names, members, strict=True))
        kinds = (tuple, set, frozenset)  # a tuple with names becomes a plain one
        return next((kind(members) for kind in kinds if isinstance(value, kind)), members)

    def _attributes(self, error: BaseException) -> None:
        """Clean what an error keeps beside its arguments: a file's name, notes, a request."""
        for name in _names(error):
            try:
                before = getattr(error, name)
                after = self.value(before)
                if after is not before:
                    setattr(error, name, after)
            except Exception:  # a property that computes or refuses: the message is looked at last
                continue

    def _behind(self, error: BaseException) -> None:
        is_suppressed = error.__suppress_context__
        if error.__cause__ is not None:
            error.__cause__ = self.error(error.__cause__)
        if error.__context__ is not None:
            error.__context__ = self.error(error.__context__)
        error.__suppress_context__ = is_suppressed

    def _group(self, group: BaseExceptionGroup[Any]) -> BaseException:
        """Return a group itself, or one of cleaned members: message and members are fixed."""
        members = [self.error(member) for member in group.exceptions]
        message = self._clean(group.message)
        is_same = all(a is b for a, b in zip(group.exceptions, members, strict=True))
        if is_same and message == group.message:
            return group
        made = BaseExceptionGroup(message, members)  # an ExceptionGroup, if all of them are
        for note in getattr(group, "__notes__", ()):
            made.add_note(note)
        return self._in_place_of(group, made)

    def _still_shows(self, error: BaseException) -> bool:
        return any(self._clean(text) != text for text in [_text(error), *_kept_texts(error)])

    def _stand_in(self, error: BaseException) -> BaseException:
        kind = RuntimeError if isinstance(error, Exception) else SystemExit
        made = kind(self._clean(f"{type(error).__name__}: {_message(error)}"))
        for note in getattr(error, "__notes__", ()):
            made.add_note(note)
        return self._in_place_of(error, made)

    def _in_place_of(self, error: BaseException, made: BaseException) -> BaseException:
        made.__cause__, made.__context__ = error.__cause__, error.__context__
        made.__suppress_context__ = error.__suppress_context__
        return made.with_traceback(error.__traceback__)


def _names(error: BaseException) -> Iterator[str]:
    """Yield the names of what an error keeps, in its dictionary or in slots."""
    yield from list(vars(error))
    for kind in type(error).__mro__:
        for name, member in vars(kind).items():
            is_slot = type(member).__name__ in {"member_descriptor", "getset_descriptor"}
            if is_slot and not name.startswith("__") and name not in {"args", "exceptions"}:
                yield name


def _kept_texts(error: BaseException) -> list[str]:
    """Return every text in an error as Prefect may keep it; none of one that cannot be kept.

    Prefect pickles errors; this looks at the texts of such a pickle, which is neither stored nor
    read back. What is behind the error is looked at by itself. A traceback, which some libraries
    pickle too, names only the files and functions of the program.
    """
    behind = error.__traceback__, error.__cause__, error.__context__, error.__suppress_context__
    error.__traceback__ = error.__cause__ = error.__context__ = None
    try:
        # In this protocol a class, whose name is no secret, is told from a text.
        found = list(pickletools.genops(pickle.dumps(error, protocol=2)))
    except Exception:
        return []
    finally:
        error.__traceback__, error.__cause__, error.__context__ = behind[:3]
        error.__suppress_context__ = behind[3]
    members = [member for operation, member, _ in found if operation.name != "GLOBAL"]
    return [_text(member) for member in members if isinstance(member, str | bytes)]


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "its message could not be read"


def _text(value: Any) -> str:
    """Return all that print and log lines may show of something."""
    if type(value) is str:
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    try:
        return f"{value}\n{value!r}"
    except Exception:
        return ""
