"""Coded checks of the finished pairs, and the report a person reads before training on them."""

from typing import Any

import duckdb

N_SAMPLES = 50
_CHECKS = {
    "R1 a word is paired with itself": "lower(word_a) = lower(word_b)",
    "R2 the words are out of order": "word_a >= word_b",
    "R3 a word has no letter": r"NOT (word_a SIMILAR TO '.*\pL.*' AND word_b SIMILAR TO '.*\pL.*')",
    "R4 a word is longer than 60 letters": "length(word_a) > 60 OR length(word_b) > 60",
    "R5 the weight is not in (0, 1]": "NOT (weight > 0 AND weight <= 1)",
    "R6 a derived pair has no parent or affix": "tier <> 'source' AND (parent = '' OR affix = '')",
    "R7 no source or no licence": "len(sources) = 0 OR len(licences) = 0",
}
_BOTH_LABELS = "R8 a pair has both labels"


def check(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Return for each check how many rows of the table ``pairs`` fail it."""
    sums = ", ".join(f"count(*) FILTER ({condition})" for condition in _CHECKS.values())
    counts = connection.execute(f"SELECT {sums} FROM pairs").fetchall()[0]
    (both,) = connection.execute(
        "SELECT count(*) FROM (SELECT 1 FROM pairs GROUP BY word_a, word_b HAVING count(*) > 1)"
    ).fetchall()[0]
    return dict(zip(_CHECKS, map(int, counts), strict=True)) | {_BOTH_LABELS: int(both)}


def quality(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Return pairs per tier, source and affix, and random pairs of each tier to read."""
    return {
        "tiers": _rows(
            connection,
            "SELECT tier, relation, count(*) AS n_pairs FROM pairs GROUP BY ALL ORDER BY ALL",
        ),
        "sources": _rows(
            connection,
            "SELECT source, tier, relation, count(*) AS n_origins "
            "FROM origins JOIN tiers USING (rank) GROUP BY ALL ORDER BY ALL",
        ),
        "affixes": _rows(
            connection,
            "SELECT affix, tier, relation, count(*) AS n_pairs FROM pairs WHERE tier <> 'source' "
            "GROUP BY ALL ORDER BY n_pairs DESC, affix, tier, relation",
        ),
        "samples": _samples(connection),
    }


def _samples(connection: duckdb.DuckDBPyConnection) -> dict[str, list[str]]:
    """Return pairs of each tier in an order fixed by a hash of their words."""
    rows = connection.execute(
        "SELECT tier, word_a, word_b, relation, parent FROM pairs "
        "QUALIFY row_number() OVER (PARTITION BY tier ORDER BY md5(word_a || '|' || word_b)) "
        f"<= {N_SAMPLES} ORDER BY tier, md5(word_a || '|' || word_b)"
    ).fetchall()
    samples: dict[str, list[str]] = {}
    for tier, word_a, word_b, relation, parent in rows:
        origin = f" from {parent}" if parent else ""
        samples.setdefault(tier, []).append(f"{word_a} / {word_b}: {relation}{origin}")
    return samples


def _rows(connection: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    cursor = connection.execute(sql)
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
