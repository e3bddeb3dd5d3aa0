"""JSON of other people's files, in which no key of an object stands twice.

Python, Rust and C each keep another one of two values under one key, so a check would look at one
and a library read the other; of a row of data one would be lost without a word.
"""

import json
from collections import Counter
from typing import Any

from dskd_core.errors import shown


def loads(text: str | bytes) -> Any:
    """Return what a JSON document says.

    Raises:
        ValueError: if it is no JSON, or an object in it has a key twice.
        RecursionError: if it nests too deep.

    >>> loads('{"a": 1}')
    {'a': 1}
    >>> loads('{"a": 1, "a": 2}')
    Traceback (most recent call last):
        ...
    ValueError: it has the key 'a' twice
    """
    return json.loads(text, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise ValueError(f"it has the key {shown(counts.most_common(1)[0][0])} twice")
    return made
