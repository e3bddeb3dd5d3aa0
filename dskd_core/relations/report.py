"""The quality report as a page: what to read before training on the pairs."""

from collections.abc import Sequence
from typing import Any

from dskd_core import markdown
from dskd_core.markdown import Markdown, escape, heading

_TITLES = {
    "tiers": "Pairs by tier",
    "sources": "Origins by source and tier",
    "affixes": "Derived pairs by affix",
    "reference": "Affixes compared with the reference",
}


def as_markdown(report: dict[str, Any]) -> str:
    """Return the report of ``build_relations`` as Markdown: tables first, then pairs to read."""
    parts: list[str] = [heading("Quality of the relations", 1)]
    checks = [{"check": name, "n_failed": n} for name, n in report["checks"].items()]
    parts += [heading("Checks"), _table(checks)]
    parts += [heading("Coverage"), _table([report["coverage"]])]
    for name, title in _TITLES.items():
        if report.get(name):
            parts += [heading(title), _table(report[name])]
    dropped = [
        {"filter": name, "value": value, "n_rows": n}
        for name, values in report["left_out"].items()
        for value, n in values.items()
    ]
    parts += [heading("Left out by the filters"), _table(dropped) if dropped else "Nothing."]
    steps = [{"step": name, "n": n} for name, n in report["counts"].items()]
    parts += [
        heading("Matching, negation and conflicts"),
        "Of two labels of one pair the better tier wins (source, sure, likely, loose), and within "
        "a tier the antonym.",
        _table(steps),
    ]
    for tier, pairs in report["samples"].items():
        parts += [heading(f"{len(pairs)} pairs of tier {tier}, drawn by a hash of their words")]
        parts += [Markdown("\n".join(f"- {escape(pair)}" for pair in pairs))]
    return markdown.join(parts)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return "Nothing."
    return markdown.table(list(rows[0]), (row.values() for row in rows), is_words=True)
