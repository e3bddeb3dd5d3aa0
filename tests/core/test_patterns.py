"""Every regular expression of the product, attacked with texts made from its own form."""

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dskd_core.config import PipelineConfig
from tests.backtracking import worst_growth

ROOT = Path(__file__).parents[2]
FOLDERS = ("dskd_core", "flows", "tasks", "infra")
LINEAR = 8.0
"""Four times the text may cost so many times as much; where it is quadratic it is sixteen times."""
BOUNDED = {
    "dskd_core.decoder.model_config._MOST": "keys of config.json have 256 letters at most",
    "dskd_core.lexicon.readers.roget._ASIDE": "looked for up to the last closing bracket",
}
"""Places of patterns that are superlinear, and what bounds the texts that they are given."""


def modules() -> Iterator[tuple[str, str]]:
    """Yield name and source of every module with regular expressions."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            source = path.read_text("utf-8")
            if re.search(r"^\s*import re$", source, re.MULTILINE):
                yield ".".join(path.relative_to(ROOT).with_suffix("").parts), source


def held(value, n_levels=3) -> Iterator[re.Pattern]:
    """Yield the patterns in a value of a module, in lists and mappings too."""
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, list | tuple | dict | set | frozenset) and n_levels:
        members = [*value, *value.values()] if isinstance(value, dict) else value
        for member in members:
            yield from held(member, n_levels - 1)


def in_line(source: str) -> Iterator[tuple[str, str]]:
    """Yield what of ``re`` functions call with a pattern that they write out, and the pattern."""
    functions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef)]
    for node in (node for function in functions for node in ast.walk(function)):
        if (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).startswith("re.")
            and node.args
            and isinstance(node.args[0], ast.Constant)
            and isinstance(node.args[0].value, str)
        ):
            yield ast.unparse(node.func).removeprefix("re."), node.args[0].value


def of_form(schema) -> Iterator[str]:
    """Yield the patterns that the server looks for in what is typed into the form of a run."""
    if isinstance(schema, dict):
        for key, member in schema.items():
            if key == "pattern" and isinstance(member, str):
                yield member
            else:
                yield from of_form(member)
    elif isinstance(schema, list):
        for member in schema:
            yield from of_form(member)


def is_searched(name: str, source: str) -> bool:
    """Say whether a pattern is looked for at every place, as far as its module tells."""
    uses = set(re.findall(rf"\b{re.escape(name)}\.(\w+)\(", source))
    return not uses or not uses <= {"match", "fullmatch"}


def patterns() -> dict[tuple[str, int, bool], str]:
    """Return the product's patterns with their flags and use, and where one of each stands."""
    found: dict[tuple[str, int, bool], str] = {}
    for name, source in modules():
        if not name.startswith("infra"):  # its programs are no package
            module = importlib.import_module(name.removesuffix(".__init__"))
            for key, value in vars(module).items():
                for pattern in held(value):
                    if isinstance(pattern.pattern, str):
                        use = (pattern.pattern, pattern.flags, is_searched(key, source))
                        found.setdefault(use, f"{name}.{key}")
        for call, pattern in in_line(source):
            use = (pattern, re.compile(pattern).flags, call not in {"match", "fullmatch"})
            found.setdefault(use, f"{name}: re.{call}")
    for pattern in of_form(PipelineConfig.model_json_schema()):
        found.setdefault((pattern, re.compile(pattern).flags, True), "the form of a run")
    return found


def test_no_pattern_takes_more_than_in_proportion_to_its_text():
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        growths = [
            (place, pattern, worst_growth(re.compile(pattern, flags), is_searched=searched))
            for (pattern, flags, searched), place in patterns().items()
        ]
    finally:
        sys.setrecursionlimit(before)
    found = [one for one in growths if one[2][0] > LINEAR]
    assert [one for one in found if one[0] not in BOUNDED] == []
    assert set(BOUNDED) <= {place for place, _, _ in found}, "what is linear needs no excuse"


@pytest.mark.parametrize(
    ("pattern", "searched", "is_linear"),
    [
        ("a+b", True, False),
        ("a+b", False, True),
        ("<ref[^>]*>", True, False),
        ("<ref[^>]{0,100}>", True, True),
        ("(a|a)*b", False, False),
        (r"(\w+\s*)+$", False, False),
        (r"(['\"])(?:(?!\1).)*\1", True, True),
    ],
)
def test_the_attack_tells_what_is_linear(pattern, searched, is_linear):
    worst, _ = worst_growth(re.compile(pattern), is_searched=searched)
    assert (worst <= LINEAR) == is_linear
