"""What names a piece of work before it is done, and what says how it was made."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from dskd_core import strict_json
from dskd_core.store import places
from dskd_core.store.integrity import damage
from dskd_core.store.versions import of_another_version

RECORD = "record.json"
_VERSIONS = range(1, 33)
FINGERPRINT = re.compile(r"[0-9a-f]{16}")
MAX_RECORD_BYTES = 256 << 20
"""A larger one is not read; a million chunks make one of about 150 MB."""


def fingerprint_of(value: Any) -> str:
    """Return 16 hexadecimal digits that change when ``value`` (JSON-like) changes.

    >>> fingerprint_of({"a": 1, "b": 2}) == fingerprint_of({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Work:
    """One piece of work, described well enough to name its result before it is done.

    Attributes:
        stage: the noun of the house (``senses``), or ``stage-shard`` for a part of one.
        config: the settings that change the bytes of the result, and no others.
        inputs: name -> fingerprint of what it reads.
        version: raised by hand when the code of a stage changes its result.
    """

    stage: str
    config: dict[str, Any]
    inputs: dict[str, str]
    version: int = 1

    @property
    def fingerprint(self) -> str:
        """The address of the result under its stage."""
        return fingerprint_of([self.stage, self.version, self.config, self.inputs])


@dataclass(frozen=True)
class Record:
    """What stands in ``record.json``.

    ``counts`` are whole numbers a person asks for first; ``report`` is anything else worth
    telling. ``seconds``, ``created_at``, ``versions`` and
    ``processor`` describe the run, not the content.
    """

    stage: str
    fingerprint: str
    config: dict[str, Any]
    inputs: dict[str, str]
    counts: dict[str, int]
    report: dict[str, Any]
    files: dict[str, dict[str, Any]]
    seconds: float
    created_at: str
    versions: dict[str, str]
    seal: str = ""
    """A hash of all other fields; records of older versions have none."""
    precision: str = ""
    """Of the matrix products behind the result; empty where there are none."""
    processor: str = ""
    """What multiplied: device, class of instructions, and its name; empty likewise."""

    @property
    def n_bytes(self) -> int:
        """Bytes of all files of the artifact."""
        return sum(int(entry["bytes"]) for entry in self.files.values())

    @property
    def content(self) -> str:
        """A hash of the content alone: equal for equal bytes, whenever and wherever made."""
        return fingerprint_of({name: entry["sha256"] for name, entry in self.files.items()})

    def sealed(self) -> "Record":
        """Return the record with its seal."""
        # As JSON would give them back: tuples become lists, keys become strings.
        others = json.loads(json.dumps(asdict(self) | {"seal": ""}))
        for name in ("precision", "processor"):  # which records of older versions do not have
            if not others[name]:
                del others[name]
        return replace(self, seal=fingerprint_of(others))

    @property
    def stage_version(self) -> int | None:
        """The version of its stage that gives its fingerprint; None if it contradicts itself."""
        for version in _VERSIONS:
            work = Work(self.stage, self.config, self.inputs, version)
            if work.fingerprint == self.fingerprint:
                return version
        return None


class Said(dict[str, Any]):
    """What a record says; to ask it for what it lacks is to read an artifact of another version."""

    uri = name = made_by = ""

    def __missing__(self, key: str) -> Any:
        """Refuse the artifact, where a mapping would raise a KeyError."""
        raise of_another_version(self.uri, f"{self.name} {key!r} in its record", self.made_by)

    @classmethod
    def by(cls, uri: str, name: str, made_by: str, value: Any) -> Any:
        """Return plain data in which every mapping knows the artifact and its field."""
        if isinstance(value, list):
            return [cls.by(uri, name, made_by, member) for member in value]
        if not isinstance(value, dict):
            return value
        made = cls({key: cls.by(uri, name, made_by, member) for key, member in value.items()})
        made.uri, made.name, made.made_by = uri, name, made_by
        return made


def parse_record(content: bytes, uri: str) -> Record:
    """Return the record that a file holds, of the artifact at ``uri``.

    Raises:
        ValueError: if it holds none, or one whose fields are of other kinds.
    """
    try:
        record = Record(**strict_json.loads(content))
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    texts = (record.stage, record.fingerprint, record.created_at, record.seal)
    mappings = (record.config, record.inputs, record.counts, record.report, record.files)
    if not (
        all(isinstance(text, str) for text in (*texts, record.precision, record.processor))
        and type(record.seconds) in (int, float)
        and all(isinstance(mapping, dict) for mapping in (*mappings, record.versions))
        and all(isinstance(t, str) for t in (*record.inputs.values(), *record.versions.values()))
        and all(type(count) is int for count in record.counts.values())
        and all(isinstance(entry, dict) for entry in record.files.values())
        and all(type(e.get("bytes")) is int for e in record.files.values())
        and all(type(e.get("sha256")) is str for e in record.files.values())
    ):
        raise ValueError("a field is of another kind")
    made_by = record.versions.get("dskd", "")
    names = ("config", "inputs", "counts", "report")
    return replace(
        record, **{name: Said.by(uri, name, made_by, getattr(record, name)) for name in names}
    )


def contradictions(record: Record) -> Iterator[str]:
    """Say in what a record contradicts itself: its seal, its name."""
    if record.seal and record.sealed().seal != record.seal:
        yield f"is damaged: its seal {record.seal} does not match"
    if record.stage_version is None:
        yield f"names itself {record.fingerprint}, which its config and inputs do not give"


def check_record(uri: str, record: Record) -> None:
    """Refuse a record that was altered, contradicts itself, or is of another artifact."""
    place = uri.rpartition("/")[2]
    for name in record.files:
        places.join_path(uri, name)  # refuses one that could climb out
    for what in contradictions(record):
        raise damage(uri, RECORD, what)
    if FINGERPRINT.fullmatch(place) and place != record.fingerprint:
        raise damage(uri, RECORD, f"is of another build, {record.stage}/{record.fingerprint}")
