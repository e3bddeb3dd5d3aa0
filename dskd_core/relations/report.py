"""The quality report as a page: what to read before training on the pairs."""

from collections.abc import Sequence
from typing import Any

_TITLES = {
    "tiers": "Pairs by tier",
    "sources": "Origins by source and tier",
    "affixes": "Derived pairs by affix",
    "reference": "Affixes held against the reference",
}


def as_markdown(report: dict[str, Any]) -> str:
    """Return the report of ``build_relations`` as Markdown: tables first, then pairs to read."""
    parts = ["# Quality of the relations"]
    checks = [{"check": name, "n_failed": n} for name, n in report["checks"].items()]
    parts += ["## Checks", _table(checks)]
    parts += ["## Coverage", _table([report["coverage"]])]
    for name, title in _TITLES.items():
        if report.get(name):
            parts += [f"## {title}", _table(report[name])]
    dropped = [
        {"filter": name, "value": value, "n_rows": n}
        for name, values in report["left_out"].items()
        for value, n in values.items()
    ]
    parts += ["## Left out by the filters", _table(dropped) if dropped else "Nothing."]
    steps = [{"step": name, "n": n} for name, n in report["counts"].items()]
    parts += [
        "## Matching, negation and conflicts",
        "Of two labels of one pair the better tier wins (source, sure, likely, loose), and within "
        "a tier the antonym.",
        _table(steps),
    ]
    for tier, pairs in report["samples"].items():
        parts += [f"## {len(pairs)} pairs of tier {tier}, drawn by a hash of their words"]
        parts += ["\n".join(f"- {pair}" for pair in pairs)]
    return "\n\n".join(parts) + "\n"


def _table(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return "Nothing."
    lines = [_line(rows[0]), _line(["---"] * len(rows[0]))]
    lines += [_line(row.values()) for row in rows]
    return "\n".join(lines)


def _line(cells: Any) -> str:
    return "| " + " | ".join("" if c is None else str(c).replace("|", "\\|") for c in cells) + " |"
