"""The stand-in takes what the core takes, so a flow that works with it calls the core rightly."""

import importlib
import inspect
import sys


def shape(function) -> tuple[int, set[str]]:
    """Return how many parameters go by position, and which by keyword only."""
    parameters = inspect.signature(function).parameters.values()
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    return len(positional), {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}


def test_every_function_of_the_stand_in_is_one_of_the_core(core, monkeypatch):
    for name in core.functions:
        monkeypatch.delitem(sys.modules, f"dskd_core.{name}")
    for name, members in core.functions.items():
        module = importlib.import_module(f"dskd_core.{name}")
        for member, stand_in in members.items():
            assert shape(getattr(module, member)) == shape(stand_in), f"{name}.{member}"
