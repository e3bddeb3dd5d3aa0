"""Which rows the settings leave out, by licence, source, part of speech and tag, and how many."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import duckdb

from dskd_core.config import RelationsConfig
from dskd_core.lexicon.rows import DerivationRow

NON_COMMERCIAL = re.compile(r"\bNC\b|non-?commercial", re.IGNORECASE)
Counts = dict[str, dict[str, int]]


def forbids_commerce(licence: str) -> bool:
    """Say whether a licence, by its name, forbids commercial use.

    >>> [forbids_commerce(name) for name in ("CC BY-NC-SA 4.0", "CC BY-SA 4.0", "non-commercial")]
    [True, False, True]
    """
    return NON_COMMERCIAL.search(licence) is not None


@dataclass(frozen=True)
class Filters:
    """What is left out, by column, each value as the rows spell it."""

    licence: frozenset[str]
    source: frozenset[str]
    pos: frozenset[str]
    tag: frozenset[str]

    @property
    def allowed(self) -> str:
        """The SQL condition of a row of pairs that stays."""
        conditions = [
            f"NOT {_among(name, values)}"
            for name, values in (("licence", self.licence), ("source", self.source))
        ]
        conditions += [f"NOT {_among('pos', self.pos)}", f"NOT {_tagged(self.tag)}"]
        return " AND ".join(conditions)

    def allows(self, row: DerivationRow) -> bool:
        """Say whether a derivation stays."""
        return row.licence not in self.licence and row.source not in self.source


def resolve_filters(
    connection: duckdb.DuckDBPyConnection, rows: Iterable[DerivationRow], config: RelationsConfig
) -> Filters:
    """Return the filters of the settings, in terms of the licences and sources that occur.

    ``word_pairs`` stands for every file read by that reader; ``commercial`` for every licence
    that forbids commercial use.
    """
    licences = {row.licence for row in rows} | _values(connection, "licence")
    sources = {row.source for row in rows} | _values(connection, "source")
    banned = set(config.excluded_licences)
    if config.commercial:
        banned |= {licence for licence in licences if forbids_commerce(licence)}
    excluded = set(config.excluded_sources)
    return Filters(
        licence=frozenset(banned),
        source=frozenset(s for s in sources if excluded & {s, s.split(":")[0]}),
        pos=frozenset(config.excluded_pos),
        tag=frozenset(config.excluded_tags),
    )


def count_left_out(
    connection: duckdb.DuckDBPyConnection, rows: Iterable[DerivationRow], filters: Filters
) -> Counts:
    """Return how many rows each value of each filter leaves out; one row may fail several."""
    counts: Counts = {}
    for name in ("licence", "source", "pos"):
        values = getattr(filters, name)
        found = connection.execute(
            f"SELECT {name}, count(*) FROM lexicon_pairs WHERE {_among(name, values)} "
            "GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        counts[name] = {value: int(n) for value, n in found}
    found = connection.execute(
        f"SELECT tag, count(*) FROM (SELECT unnest(tags) AS tag FROM lexicon_pairs) "
        f"WHERE {_among('tag', filters.tag)} GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    counts["tag"] = {value: int(n) for value, n in found}
    dropped = [row for row in rows if not filters.allows(row)]
    licences = Counter(row.licence for row in dropped if row.licence in filters.licence)
    sources = Counter(row.source for row in dropped if row.source in filters.source)
    counts["derivation_licence"] = dict(sorted(licences.items()))
    counts["derivation_source"] = dict(sorted(sources.items()))
    return counts


def _values(connection: duckdb.DuckDBPyConnection, name: str) -> set[str]:
    rows = connection.execute(f"SELECT DISTINCT {name} FROM lexicon_pairs").fetchall()
    return {value for (value,) in rows}


def _among(name: str, values: Iterable[str]) -> str:
    listed = ", ".join(_literal(value) for value in sorted(values))
    return f"({name} IN ({listed}))" if listed else "false"


def _tagged(tags: Iterable[str]) -> str:
    listed = ", ".join(_literal(tag) for tag in sorted(tags))
    return f"list_has_any(tags, [{listed}])" if listed else "false"


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
