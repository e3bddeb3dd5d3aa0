"""Coded checks of the finished pairs, and the report a person reads before training on them."""

from typing import Any

import duckdb

from dskd_core.lexicon import LEXICON_PAIRS
from dskd_core.store.artifacts import Artifact

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
        "coverage": _coverage(connection),
        "samples": _samples(connection),
    }


def _coverage(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Return how many words there are, and of how many the synonyms and antonyms are known."""
    row = connection.execute(_COVERAGE).fetchall()[0]
    names = ("words", "with_synonyms", "with_antonyms", "with_both")
    return dict(zip(names, map(int, row), strict=True))


def compare_with_reference(
    connection: duckdb.DuckDBPyConnection, reference: Artifact
) -> list[dict[str, Any]]:
    """Return for each affix what a reference lexicon says of the words it negates.

    ``n_known``: word and base both occur in the reference. ``precision``: the share of those that
    it lists as antonyms, which is a floor, since no lexicon lists all. ``n_synonyms``: those it
    lists as synonyms, which are errors. ``recall``: the share of its antonym pairs that differ by
    this prefix alone and are found here.
    """
    pairs = connection.from_parquet(str(reference.folder() / LEXICON_PAIRS))
    connection.register("reference_rows", pairs)
    connection.execute(_REFERENCE)
    return _rows(connection, _AFFIX_PRECISION)


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


_COVERAGE = """
WITH said AS (
    SELECT word_a AS word, relation FROM pairs UNION ALL SELECT word_b, relation FROM pairs
), words AS (
    SELECT word, bool_or(relation = 'synonym') AS s, bool_or(relation = 'antonym') AS a
    FROM said GROUP BY word
)
SELECT count(*), count(*) FILTER (s), count(*) FILTER (a), count(*) FILTER (s AND a) FROM words
"""
_REFERENCE = """
CREATE TABLE reference AS SELECT DISTINCT lower(word_a) AS a, lower(word_b) AS b, relation
FROM (SELECT word_a, word_b, relation FROM reference_rows
      UNION ALL SELECT word_b, word_a, relation FROM reference_rows);
CREATE TABLE reference_words AS SELECT DISTINCT a AS word FROM reference;
"""
_AFFIX_PRECISION = """
WITH negated AS (SELECT DISTINCT key, base_key, affix, rank FROM negations),
compared AS (
    SELECT affix, rank,
           count(*) AS n_known, count(ant.a) AS n_antonyms, count(syn.a) AS n_synonyms
    FROM negated
    SEMI JOIN reference_words w ON w.word = negated.key
    SEMI JOIN reference_words v ON v.word = negated.base_key
    LEFT JOIN reference ant ON ant.a = key AND ant.b = base_key AND ant.relation = 'antonym'
    LEFT JOIN reference syn ON syn.a = key AND syn.b = base_key AND syn.relation = 'synonym'
    GROUP BY affix, rank
),
wanted AS (
    SELECT p.affix, count(*) AS n_wanted, count(n.key) AS n_found
    FROM reference r
    JOIN (SELECT DISTINCT affix, replace(affix, '-', '') AS prefix FROM negations) p
      ON p.affix <> '-less' AND (r.a = p.prefix || r.b OR r.a = p.prefix || '-' || r.b)
    LEFT JOIN (SELECT DISTINCT key, base_key FROM negations) n ON n.key = r.a AND n.base_key = r.b
    WHERE r.relation = 'antonym' GROUP BY p.affix
)
SELECT affix, tier, n_known, n_antonyms, n_synonyms,
       round(n_antonyms / n_known, 3) AS precision, round(n_found / n_wanted, 3) AS recall
FROM compared JOIN tiers USING (rank) LEFT JOIN wanted USING (affix) ORDER BY affix, tier
"""
