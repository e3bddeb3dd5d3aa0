"""How much a run may be told: bounds on settings as they are read, before anything looks at them.

A few hundred bytes of YAML can stand for billions of values, by names for what stands above
(``&a``, ``*a``). So a parameter file is counted before it is built: what it stands for, not what
it has.
"""

import math
import re
from collections.abc import Hashable
from typing import Any

import yaml

from dskd_core.errors import ConfigError, shown

FILE_BYTES = 1 << 18
"""Of a parameter file; the largest of the project's own has a hundredth of it."""
N_VALUES = 20_000
"""Values, keys among them: a list of every layer of the deepest model, four times over."""
N_LEVELS = 32
N_CHARACTERS = FILE_BYTES
VALUE_CHARACTERS = 4096
"""Of one text, as Linux bounds a path."""
MAX_POINTS = 1000
"""Of a sweep: each is two students a seed, with their scores."""

_CURE = "leave out what is no setting"


def check_size(values: Any) -> Any:
    """Return plain data if it is of a size that settings have.

    Raises:
        ValueError: if it has too many values, levels or characters; nothing of it is shown.

    >>> check_size({"seeds": [0, 1]})
    {'seeds': [0, 1]}
    """
    waiting, n_values, n_characters = [(values, 0)], 0, 0
    while waiting:
        value, level = waiting.pop()
        n_values += 1
        if isinstance(value, str):
            n_characters += len(value)
            members: Any = ()
        elif isinstance(value, dict):
            members = (part for pair in value.items() for part in pair)
            n_values += len(value)
        else:
            members = value if isinstance(value, list | tuple) else ()
        if level > N_LEVELS:
            raise ValueError(f"has more than {N_LEVELS} levels; {_CURE}")
        if isinstance(value, list | tuple | dict) and n_values + len(value) > N_VALUES:
            raise ValueError(f"has more than {N_VALUES:,} values; {_CURE}")
        waiting += [(member, level + 1) for member in members]
        if n_values > N_VALUES:
            raise ValueError(f"has more than {N_VALUES:,} values; {_CURE}")
        if n_characters > N_CHARACTERS:
            raise ValueError(f"has more than {N_CHARACTERS:,} characters of text; {_CURE}")
    return values


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses what it would read as something else than what stands there."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
        """Return a mapping, if no key stands in it twice: YAML would take the last one."""
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if isinstance(key, Hashable) and key in seen:
                raise ConfigError(
                    f"has {shown(key)} twice, in lines {seen[key]} and {line}, of which one would "
                    "be lost; put together what they say."
                )
            if isinstance(key, Hashable):
                seen[key] = line
        return super().construct_mapping(node, deep)

    def compose_scalar_node(self, anchor: Any) -> Any:
        """Return a scalar, if it is no number to base 60 or 8, as 1:30 and 010 would be."""
        node = super().compose_scalar_node(anchor)
        is_number = node.tag in {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}
        if is_number and (":" in node.value or re.match(r"[-+]?0[0-9_]", node.value)):
            raise ValueError(
                f"{shown(node.value)} in line {node.start_mark.line + 1} is a number to another "
                "base than ten: write it out, or put it in quotation marks"
            )
        return node


def read_yaml(data: bytes) -> Any:
    """Return what a YAML document stands for, if it is of a size that settings have.

    Raises:
        ConfigError: if it is too large, once every ``*name`` is written out, or holds a value that
            Python cannot read; the message begins with a verb.
        yaml.YAMLError: if it is no YAML.
    """
    if len(data) > FILE_BYTES:
        raise ConfigError(
            f"has {len(data):,} bytes, more than the {FILE_BYTES:,} of a parameter file; {_CURE}."
        )
    try:
        _check_written_out(data)
        return yaml.load(data, Loader=_Loader)
    except (ValueError, ArithmeticError) as error:  # of int(), float(), a date or the encoding
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"holds a value that cannot be read ({str(error)[:200]}); correct it."
        ) from error


def _check_written_out(data: bytes) -> None:
    """Count the values of a document with every alias written out, without building any."""
    sizes: dict[str, float] = {}
    opened: list[tuple[str | None, float]] = []
    total = 0.0
    for event in yaml.parse(data, Loader=yaml.SafeLoader):
        name = getattr(event, "anchor", None)
        if isinstance(event, yaml.AliasEvent):
            # Inside itself it has no size yet.
            size = math.inf if name in {n for n, _ in opened} else sizes.get(str(name), 0.0)
        elif isinstance(event, yaml.ScalarEvent):
            if len(event.value) > VALUE_CHARACTERS:
                raise ConfigError(
                    f"has a text of {len(event.value):,} characters, more than "
                    f"{VALUE_CHARACTERS:,}; shorten it."
                )
            size = 1.0
        elif isinstance(event, yaml.CollectionStartEvent):
            opened.append((name, total))
            size, name = 1.0, None
        elif isinstance(event, yaml.CollectionEndEvent):
            name, before = opened.pop()
            size, total = total - before, before
        else:
            continue
        total += size
        if name and not isinstance(event, yaml.AliasEvent):
            sizes[name] = size
        if total > N_VALUES or len(opened) > N_LEVELS:
            raise ConfigError(
                f"has more than {N_VALUES:,} values or {N_LEVELS} levels, once every *name is "
                f"written out; {_CURE}."
            )
