"""The header of a GGUF file, read in a fraction of a second: sizes and names, and no weights.

The reader of the package gguf makes an array of every string of the vocabulary, which takes it some
five seconds; a plan needs a dozen numbers. The format is that of
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md: little-endian, versions 2 and 3.
"""

import mmap
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path
from typing import Any

from dskd_core.errors import ConfigError, shown

Shape = tuple[int, ...]
_MAGIC = b"GGUF"
_FORMATS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_ALIGNMENT, _ALIGNED = "general.alignment", 32
_MOST_VALUES, _MOST_TENSORS, _MOST_MEMBERS = 1 << 16, 1 << 17, 1 << 21
_MOST_TEXT, _MOST_DIMENSIONS, _MOST_DEPTH = 64 << 20, 8, 4
_MOST_SIZE = {
    "block_count": 4096,
    "embedding_length": 1 << 20,
    "feed_forward_length": 1 << 20,
    "attention.head_count": 1 << 16,
    "attention.head_count_kv": 1 << 16,
    "expert_count": 1 << 16,
    "context_length": 1 << 30,
    "vocab_size": 1 << 24,
}
"""Most that a file may say of itself: a file of holes has any number of zeros at no cost."""
_PART = re.compile(r"-\d{5}-of-(\d{5})\.gguf$")


@dataclass(frozen=True)
class Header:
    """What a GGUF file says of itself.

    Attributes:
        values: numbers and strings by key; of an array its length.
        tensors: shapes of the weights by their names, the fastest dimension first.
    """

    values: dict[str, Any]
    tensors: dict[str, Shape]

    def size(self, name: str) -> int | None:
        """Return a number of the model's architecture, such as ``block_count``."""
        found = self.values.get(f"{self.values.get('general.architecture')}.{name}")
        if not isinstance(found, int | float) or not isfinite(found):
            return None
        return int(found)

    def text(self, name: str) -> str | None:
        """Return a text of the model's architecture, such as ``rope.scaling.type``."""
        found = self.values.get(f"{self.values.get('general.architecture')}.{name}")
        return found if isinstance(found, str) else None


def read_header(path: Path) -> Header:
    """Read the header of a GGUF file that holds a whole model.

    Raises:
        ConfigError: if it is none, breaks off, or is one of several files of a model.
    """
    header = _read(path)
    for name, most in _MOST_SIZE.items():
        if (size := header.size(name)) is not None and not 0 <= size <= most:
            raise ConfigError(
                f"{path} has the {name} {size}, and no model has more than {most:,}; give another "
                "file."
            )
    number, count = (_whole(header.values.get(f"split.{key}")) for key in ("no", "count"))
    named = _PART.search(path.name)
    if count > 1 or (named and int(named[1]) > 1):
        part = f"part {number + 1} of {count}" if count > 1 else "one of several parts"
        raise ConfigError(
            f"{path} is {part} of a split GGUF model, and only whole ones are read; merge the "
            "parts into one file with llama-gguf-split --merge FIRST_PART WHOLE.gguf and name that."
        )
    return header


def _read(path: Path) -> Header:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Cursor(data).header()
    except (OSError, ValueError, KeyError, RecursionError, struct.error) as error:
        raise ConfigError(
            f"{path} is no readable GGUF file ({error}); give another, or the teacher's "
            "config.json with --config-json."
        ) from error


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0


class _Cursor:
    """A place in a file that moves on as values are read."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.place = data, 0
        self.n_text = self.n_members = 0

    def header(self) -> Header:
        if self.data[:4] != _MAGIC:
            raise ValueError("it does not begin with GGUF")
        self.place = 4
        version, n_tensors, n_values = self.number("I"), self.number("Q"), self.number("Q")
        if version not in {2, 3}:
            raise ValueError(f"version {version}, not 2 or 3")
        if n_values > _MOST_VALUES or n_tensors > _MOST_TENSORS:
            raise ValueError(f"{n_values:,} values and {n_tensors:,} tensors")
        values = self._once((self.string(), self.value(self.number("I"))) for _ in range(n_values))
        tensors = self._once(self.tensor() for _ in range(n_tensors))
        self._check_places(values.get(_ALIGNMENT, _ALIGNED), tensors)
        return Header(values, {name: shape for name, (shape, _) in tensors.items()})

    @staticmethod
    def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        """Return named things; of two under one name each reader would take another."""
        found: dict[str, Any] = {}
        for name, thing in pairs:
            if name in found:
                raise ValueError(f"it has {shown(name)} twice")
            found[name] = thing
        return found

    def _check_places(self, alignment: Any, tensors: dict[str, tuple[Shape, int]]) -> None:
        """Refuse values that begin beyond the file, or where those of another tensor do."""
        if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
            raise ValueError(f"{_ALIGNMENT} is {alignment}, no power of two")
        if self.place > len(self.data):
            raise ValueError("it breaks off")
        start, begun = -(-self.place // alignment) * alignment, dict[int, str]()
        for name, (shape, offset) in tensors.items():
            if not prod(shape):
                continue
            if offset % alignment or start + offset >= len(self.data):
                raise ValueError(f"the values of {shown(name)} begin at {offset:,}")
            if (other := begun.setdefault(offset, name)) != name:
                raise ValueError(f"{shown(name)} and {shown(other)} are the same bytes")

    def number(self, form: str) -> Any:
        (value,) = struct.unpack_from(f"<{form}", self.data, self.place)
        self.place += struct.calcsize(f"<{form}")
        return value

    def string(self) -> str:
        length = self.number("Q")
        self.n_text += length
        if self.n_text > _MOST_TEXT:
            raise ValueError(f"texts of {self.n_text:,} bytes")
        self.place += length
        return self.data[self.place - length : self.place].decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self.skip_array()
        return self.number(_FORMATS[kind])

    def skip_array(self, depth: int = 0) -> int:
        kind, length = self.number("I"), self.number("Q")
        self.n_members += 0 if kind in _FORMATS else length  # which are passed over at once
        if self.n_members > _MOST_MEMBERS or depth > _MOST_DEPTH:
            raise ValueError(f"arrays of {self.n_members:,} members, {depth} deep")
        if kind in _FORMATS:
            self.place += length * struct.calcsize(f"<{_FORMATS[kind]}")
            return int(length)
        for _ in range(length):
            if kind == _STRING:
                n_bytes = self.number("Q")  # which moves the place on
                self.place += n_bytes
            else:
                self.skip_array(depth + 1)
        return int(length)

    def tensor(self) -> tuple[str, tuple[Shape, int]]:
        """Return a tensor's name, its shape, and where its values begin behind the header."""
        name, n_dimensions = self.string(), self.number("I")
        if n_dimensions > _MOST_DIMENSIONS:
            raise ValueError(f"a tensor of {n_dimensions} dimensions")
        shape = tuple(self.number("Q") for _ in range(n_dimensions))
        self.place += 4  # its type
        return name, (shape, self.number("Q"))
