"""The form (JSON schema) that a run's settings are typed into: it refuses in sentences.

The server checks what was typed against the schema and repeats the schema's own words, so a value
that matches no pattern is answered by the pattern. A schema has one way to say a sentence: *if*
the value is a bad one, *then* it should have been this constant. The answer is then
``'a text without credentials; ...' was expected``, which does not repeat what was typed either.
Of several complaints about one value the server tells one, and of these rules sooner than of what
repeats the value: ``if`` stands before ``type`` where keys are sorted, and others count less.
"""

from typing import Any

from dskd_core.credentials import CREDENTIALS

NO_CREDENTIALS = (
    "a text without credentials; those belong in the worker's environment (HF_TOKEN, "
    "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
)
HALF_CHARACTERS = r"[\ud800-\udfff]"
"""Halves of a character, which JSON can hold and UTF-8 cannot: a server that has kept one answers
no worker of the pool any more, whichever run it asks for."""
WHOLE_CHARACTERS = "a text of whole characters: this one has half of a surrogate pair"
TOLD = "told"
"""Of a text with a pattern: what it should be, in words. The form itself does not keep it."""
_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}
_KINDS = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "settings by their names",
    "null": "nothing",
}
Schema = dict[str, Any]
Rule = tuple[Schema, str]
"""A schema of bad values, and what is expected in their place."""


def refusing(*rules: Rule) -> Schema:
    """Return keywords of a schema that refuse a value by the first rule that it breaks.

    >>> refusing(({"type": "null"}, "a number"))
    {'if': {'type': 'null'}, 'then': {'const': 'a number'}}
    """
    schema: Schema = {}
    for bad, expected in reversed(rules):
        schema = {"if": bad, "then": {"const": expected}} | ({"else": schema} if schema else {})
    return schema


TEXT = (
    ({"type": "string", "pattern": CREDENTIALS}, NO_CREDENTIALS),
    ({"type": "string", "pattern": HALF_CHARACTERS}, WHOLE_CHARACTERS),
)
"""What no text of the settings may hold."""


def of_any_values(n_levels: int = 4) -> Schema:
    """Return keywords that refuse the same in a value of any kind, in lists of lists too."""
    inner = {"items": of_any_values(n_levels - 1)} if n_levels else {}
    names = {"propertyNames": refusing(*TEXT), "additionalProperties": inner.get("items", {})}
    return refusing(*TEXT) | inner | (names if n_levels else {})


def finite(most: float) -> Schema:
    """Return keywords that refuse NaN, which is neither below a bound nor above it."""
    return refusing(_no_number(most))


def _no_number(most: float) -> Rule:
    return {"type": "number", "exclusiveMinimum": most, "maximum": most}, "a finite number"


def only(what: str, names: list[str]) -> Schema:
    """Return the schema of names that refuses every other one, and does not repeat it."""
    return refusing(({"not": {"enum": names}}, f"no {what} but {', '.join(names)}"))


def describe(schema: Schema) -> None:
    """Have a model's schema refuse credentials and what is no number, and tell bounds in words.

    A key that it does not have, or a value of another kind, may be a secret in the wrong place.
    """
    members = schema.get("properties", {})
    for member in members.values():
        describe_member(member)
    if schema.get("additionalProperties") is False:
        schema["propertyNames"] = only("key", list(members))
        schema |= refusing(({"type": ["string", "array"]}, "settings by their names"))


def describe_member(member: Schema) -> None:
    """Do so for one setting.

    Of a setting that may be empty the rules stand beside the kinds of values and not in one of
    them: else all that is said is that none of them fits.
    """
    kinds = member.get("anyOf", [member])
    rules = _rules_of_kinds(kinds)
    for kind in kinds:
        rules += _rules(kind)
        if "const" in kind:  # "is a const and cannot be changed", says the form; this is a choice
            kind["enum"] = [kind.pop("const")]
        if isinstance(kind.get("items"), dict):
            describe_member(kind["items"])
        if kind is not member:
            member |= {key: kind.pop(key) for key in _BOUNDS if key in kind}
    member |= refusing(*rules)
    if "description" in member and (bounds := _in_words(member)):
        member["description"] = f"{member['description'].rstrip('.')}. {bounds}."


def _rules_of_kinds(kinds: list[Schema]) -> list[Rule]:
    """Return the rules that refuse a value of another kind, or a text that is no choice.

    A number in the wrong place is no secret, and told by its bounds. A model tells its own kind.
    """
    names = [kind.get("type") for kind in kinds]
    if None in names:
        return []
    choices = [choice for kind in kinds for choice in kind.get("enum", [kind.get("const")])]
    choices = [choice for choice in choices if choice is not None]
    words = [_KINDS[str(name)] for name in names if name != "string" or not choices]
    expected = " or ".join([*map(str, choices), *words])
    bad: Schema = {"type": ["string", "array", "object"], "not": {"type": names}}
    if choices:  # a setting is chosen or typed, never both
        bad["not"] = {"anyOf": [{"enum": choices}, {"not": {"type": "string"}, "type": names}]}
    return [(bad, expected)]


def _rules(kind: Schema) -> list[Rule]:
    """Return the rules of one kind of value; what they say in its place is taken out of it."""
    is_text = kind.get("type") == "string" and not {"enum", "const", "format"} & kind.keys()
    pattern, told = kind.pop("pattern", None), kind.pop(TOLD, None)
    if is_text:
        form = {"type": "string", "not": {"pattern": pattern}}
        own = [(form, told or f"a text that matches {pattern}")] if pattern else []
        return [*TEXT, *own]
    most = kind.get("maximum", kind.get("exclusiveMaximum"))
    if kind.get("type") == "number" and most is not None:
        return [_no_number(most)]
    return []


def _in_words(member: Schema) -> str:
    if {"minimum", "maximum"} <= member.keys():
        return f"From {member['minimum']:,} to {member['maximum']:,}"
    bounds = [f"{word} {member[key]:,}" for key, word in _BOUNDS.items() if key in member]
    return ", ".join(bounds).capitalize()
