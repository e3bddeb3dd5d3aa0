"""Templates of English Wikipedia that show prose: what they show, without asking the wiki."""

import re

from dskd_core.corpus.wikitags import protected

_LAST_ARGUMENT = re.compile(
    r"lang(-.*)?|transl|transliteration|nowrap|nobr|small|big|smaller|abbr|tooltip|quote|sic|"
    r"visible anchor|vanchor|em|strong"
)
_RANGES = frozenset({"-", "–", "to", "and", "or", "by", "x", "×", "+/-", "±"})
LITERAL = {
    "'": "'",
    "ndash": "–",
    "mdash": "—",
    "spaced ndash": " – ",
    "snd": " – ",
    "spnd": " – ",
    "spaced en dash": " – ",
    "dash": " – ",
    "nbsp": " ",
    "=": protected("="),
    "!": protected("|"),
    "·": " · ",
    "!=": "≠",
}
"""Names, in small letters, of templates without arguments, and their text."""
_MEASURES = frozenset({"convert", "cvt"})


def shows_values(name: str) -> bool:
    """Say whether a template's text is made of its arguments without names."""
    return name in _MEASURES or _LAST_ARGUMENT.fullmatch(name) is not None


def shown(name: str, values: list[str]) -> str | None:
    """Return what such a template shows, None for nothing."""
    if name in _MEASURES:
        return _measure(values)
    return values[-1] if values else None


def _measure(values: list[str]) -> str | None:
    """Return the number and unit given, or both numbers of a range.

    >>> _measure(["60", "and(-)", "80", "kg", "lb"])
    '60 and 80 kg'
    """
    if len(values) > 3 and (between := values[1].removesuffix("(-)")) in _RANGES:
        return f"{values[0]} {between} {values[2]} {values[3]}"
    return " ".join(values[:2]) if len(values) > 1 else None
