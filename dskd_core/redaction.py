"""Secrets of the environment, kept out of logs and error messages.

Credentials reach a process through its environment alone. Whatever repeats one, be it a library's
error message or a log line at debug level, has ``[AWS_SECRET_ACCESS_KEY]`` in its place. Values of
fewer than six characters are left alone: they would blank out ordinary words.
"""

import base64
import logging
import os
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

MIN_CHARACTERS = 6
_SECRET = re.compile(
    r"(?:^|_)(?:TOKEN|SECRET|PASSWORD|PASSWD|API_KEY|ACCESS_KEY|ACCESS_KEY_ID|AUTH_STRING|"
    r"CREDENTIALS|PRIVATE_KEY)(?:_|$)"
)
_PLACE = re.compile(r"_(?:PATH|FILE|URI|DIR|NAME)$")
_LOGIN = re.compile(r"(?<=://)[^/\s:@'\"]*:[^/\s@'\"]+@")


def secrets_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what must not be shown -> the name it is shown by.

    The password of a ``user:password`` and the forms a secret takes in an address or a header
    are among them.

    >>> secrets_of({"HF_TOKEN": "hf_abcdef", "TOKENIZERS_PARALLELISM": "false"})["hf_abcdef"]
    'HF_TOKEN'
    """
    found: dict[str, str] = {}
    for name, value in environment.items():
        if not _SECRET.search(name.upper()) or _PLACE.search(name.upper()):
            continue
        encoded = base64.b64encode(value.encode()).decode()
        for form in (value, value.partition(":")[2], quote(value, safe=""), encoded):
            if len(form) >= MIN_CHARACTERS:
                found.setdefault(form, name)
    return found


def redact(text: str) -> str:
    """Return ``text`` with every secret of the environment replaced by its name.

    Logins in addresses are replaced, too, whoever's they are.

    >>> redact("postgresql://dskd:hunter2@db/prefect")
    'postgresql://[login]@db/prefect'
    """
    found = secrets_of(os.environ)
    for secret in sorted(found, key=len, reverse=True):  # the longest first: one may hold another
        text = text.replace(secret, f"[{found[secret]}]")
    return _LOGIN.sub("[login]@", text)


@contextmanager
def redacted_errors() -> Iterator[None]:
    """Take secrets out of an error on its way up: Prefect keeps its message as the run's state.

    An error whose message cannot be changed becomes a ``RuntimeError`` with its type and the rest
    of its message.
    """
    try:
        yield
    except Exception as error:
        for known in _chain(error):
            known.args = tuple(redact(a) if isinstance(a, str) else a for a in known.args)
            if isinstance(known, OSError) and isinstance(known.strerror, str):
                known.strerror = redact(known.strerror)
        if redact(message := str(error)) != message:
            raise RuntimeError(f"{type(error).__name__}: {redact(message)}") from None
        raise


def install() -> None:
    """Redact every log record of this process from now on, whoever writes it; twice is once."""
    make = logging.getLogRecordFactory()
    if getattr(make, "redacts", False):
        return

    def redacted(*arguments: Any, **named: Any) -> logging.LogRecord:
        record = make(*arguments, **named)
        return _clean(record)

    redacted.redacts = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(redacted)


def _clean(record: logging.LogRecord) -> logging.LogRecord:
    try:
        message = record.getMessage()
    except Exception:  # a line with wrong arguments is the logger's to complain about
        return record
    if (clean := redact(message)) != message:
        record.msg, record.args = clean, ()
    if record.exc_info and record.exc_info[0] is not None:
        text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
        if (clean := redact(text)) != text:
            record.exc_text, record.exc_info = clean, None
    return record


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those behind it."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        known = waiting.pop()
        if known is not None and id(known) not in seen:
            seen.add(id(known))
            yield known
            waiting += [known.__cause__, known.__context__]
