"""Why an artifact was made and not found: what differs from the nearest one of its stage."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from dskd_core.store.artifacts import Record

FIRST = "the first of its stage here"
RAISED = "its stage computes otherwise since"
_MAX_CHARACTERS = 60
_ABSENT = object()


def reason(record: Record, others: Sequence[Record], *, before: datetime) -> str:
    """Say in words why ``record`` had to be made.

    It is compared with the artifact of its stage that differs from it in the fewest settings and
    inputs, the newest of several, among those that stood when the run began: its siblings of the
    same run, such as another seed's student, are no reason.

    Returns:
        ``n_senses 5 -> 10; embeddings changed``.
    """
    earlier = [
        other
        for other in others
        if other.fingerprint != record.fingerprint
        and datetime.fromisoformat(other.created_at) < before
    ]
    if not earlier:
        return FIRST
    newest_first = sorted(earlier, key=lambda other: other.created_at, reverse=True)
    nearest = min((differences(other, record) for other in newest_first), key=len)
    return "; ".join(nearest) or RAISED


def differences(before: Record, after: Record) -> list[str]:
    """Return the settings and the inputs in which two records of a stage differ, in words."""
    old, new = _flat(before.config), _flat(after.config)
    settings = [
        f"{name} {_shown(old.get(name, _ABSENT))} -> {_shown(new.get(name, _ABSENT))}"
        for name in dict.fromkeys([*new, *old])
        if old.get(name, _ABSENT) != new.get(name, _ABSENT)
    ]
    return settings + [
        f"{name} {_what_became(before.inputs.get(name), after.inputs.get(name))}"
        for name in dict.fromkeys([*after.inputs, *before.inputs])
        if before.inputs.get(name) != after.inputs.get(name)
    ]


def _what_became(before: str | None, after: str | None) -> str:
    return "added" if before is None else "removed" if after is None else "changed"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings under dotted names."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "unset"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_CHARACTERS else f"{text[: _MAX_CHARACTERS - 3]}..."
