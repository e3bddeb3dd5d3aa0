"""The table of bounds in docs/settings.md is that of the settings."""

from pathlib import Path

from dskd_core.config import PipelineConfig

PAGE = Path(__file__).parents[2] / "docs/settings.md"


def rows():
    """Return a line a setting: its name in a parameter file, what it takes, its default."""
    form = PipelineConfig.model_json_schema()
    waiting = [(name, member) for name, member in form["properties"].items()]
    while waiting:
        name, member = waiting.pop(0)
        if stage := parts(form, member):
            within = "[]" if member.get("type") == "array" else ""
            inner = form["$defs"][stage]["properties"].items()
            waiting[:0] = [(f"{name}{within}.{key}", value) for key, value in inner]
        if not stage or member.get("type") == "array":
            yield f"| `{name}` | {' or '.join(kinds(member))} |"


def parts(form, member):
    """Return the settings that a member of the form consists of, if it does."""
    for place in (member, member.get("items", {}), *member.get("anyOf", ())):
        if "$ref" in place and (stage := place["$ref"].rpartition("/")[2]) in form["$defs"]:
            return stage
    return None


def kinds(member):
    """Yield what a member of the form takes, in words."""
    if "anyOf" in member:
        beside = {key: value for key, value in member.items() if key != "anyOf"}
        for other in member["anyOf"]:  # bounds of a number stand beside the kinds of values
            yield from kinds(beside | other)
    elif "enum" in member or "const" in member:
        yield ", ".join(f"`{value}`" for value in member.get("enum", [member.get("const")]))
    elif member.get("type") in {"integer", "number"}:
        what = "whole number" if member["type"] == "integer" else "number"
        low, high = member.get("minimum"), member.get("maximum")
        low = f"{low:,}" if low is not None else f"above {member['exclusiveMinimum']:,}"
        high = f"{high:,}" if high is not None else f"below {member['exclusiveMaximum']:,}"
        yield f"{what}, {low} to {high}"
    elif member.get("type") == "string":
        yield "a date" if "format" in member else f"text of at most {member['maxLength']:,}"
    elif member.get("type") == "array":
        inner = "" if "$ref" in member["items"] else f": {' or '.join(kinds(member['items']))}"
        yield f"list of at most {member['maxItems']:,}{inner}"
    elif member.get("type") == "object":
        yield f"a {' or '.join(kinds(member['additionalProperties']))} for each key"
    elif "$ref" in member:
        yield "settings"
    else:
        yield {"boolean": "true or false", "null": "empty"}[member["type"]]


def test_the_page_has_every_setting_with_its_bounds():
    table = PAGE.read_text("utf-8").partition("| setting | takes |")[2]
    written = [line for line in table.splitlines() if line.startswith("| `")]
    assert written == list(rows())
