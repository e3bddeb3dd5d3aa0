"""Credentials in the settings of a run: refused, by the form and by the settings, and not repeated.

A value that a run is created with is kept by the server, and read by everyone who may read runs.
"""

import re
from collections.abc import Iterator
from typing import Any

from dskd_core.redaction import LOGIN, SIGNED, TOKEN

CREDENTIALS = rf"(?:{TOKEN}|{SIGNED}|{LOGIN})"
"""What no text of the settings may hold: a login or a signature in an address, a token that is
known by its form. It stands in the form of every text, in the words that Python and JavaScript
share."""


def check_no_credentials(value: Any) -> Any:
    """Return a value of plain data, if no text in it carries a login or a token.

    Raises:
        ValueError: with nothing of it.

    >>> check_no_credentials(["s3://bucket/x", 3])
    ['s3://bucket/x', 3]
    """
    if any(re.search(CREDENTIALS, text) for text in _texts(value)):
        raise ValueError(
            "carries credentials (not shown here); give them in the environment (HF_TOKEN, "
            "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
        )
    return value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for member in value:
            yield from _texts(member)
    elif isinstance(value, dict):  # of a sweep; a stage's settings look at theirs, by name
        yield from _texts([*value, *value.values()])
