"""One table of pairs from all sources: matched, expanded by negation, freed of contradictions."""

from importlib import resources

import duckdb
import pyarrow as pa

from dskd_core.artifacts import Artifact, ArtifactStore, Work
from dskd_core.config import RelationsConfig
from dskd_core.lexicon import PAIRS
from dskd_core.lexicon.parquet import database, write_query
from dskd_core.progress import Progress, silent
from dskd_core.relations.checks import check, quality
from dskd_core.relations.negation import expand, load_negations

ORIGINS = "origins.parquet"
_STEPS = 5


def build_relations(
    store: ArtifactStore,
    config: RelationsConfig,
    lexicon: Artifact,
    *,
    progress: Progress = silent,
) -> Artifact:
    """Join and expand the pairs of a lexicon (Table 1 of arXiv:2602.22351).

    ``pairs.parquet`` has one row a pair of words, ``origins.parquet`` everything said of it. Words
    match without regard to case and keep their spelling. Two sources that disagree: the better
    tier wins (source, sure, likely, loose), and within a tier the antonym. The weight of a pair is
    the greatest of the origins that agree with its label.

    Args:
        store: where artifacts are kept.
        config: tiers, their weights, and what to leave out.
        lexicon: an artifact of ``build_lexicon``.
        progress: told the steps done.
    """
    settings = config.model_dump(mode="json")
    work = Work("relations", config=settings, inputs={"lexicon": lexicon.fingerprint})
    found = store.find(work)
    if found is not None:
        return found
    with store.publish(work) as draft, database() as connection:
        counts = load_origins(connection, lexicon, config)
        progress(1, _STEPS, "steps")
        counts |= load_negations(connection, lexicon, config)
        progress(2, _STEPS, "steps")
        counts |= expand(connection)
        progress(3, _STEPS, "steps")
        counts |= settle(connection)
        progress(4, _STEPS, "steps")
        draft.counts["n_pairs"] = write_query(connection, _PAIRS_SQL, draft.path(PAIRS))
        draft.counts["n_origins"] = write_query(connection, _ORIGINS_SQL, draft.path(ORIGINS))
        draft.report["counts"] = counts
        draft.report["checks"] = check(connection)
        draft.report |= quality(connection)
        for row in draft.report["tiers"]:
            draft.counts[f"n_{row['tier']}_{row['relation']}s"] = row["n_pairs"]
        progress(_STEPS, _STEPS, "steps")
    return store.open(store.uri(work))


def load_origins(
    connection: duckdb.DuckDBPyConnection, lexicon: Artifact, config: RelationsConfig
) -> dict[str, int]:
    """Fill ``origins`` with the pairs of the sources and return counts of what was left out."""
    connection.execute(resources.files(__package__).joinpath("schema.sql").read_text("utf-8"))
    pairs = connection.from_parquet(str(lexicon.folder() / PAIRS))
    connection.register("lexicon_pairs", pairs)
    _fold_words(connection)
    left_out = {}
    allowed = []
    for column, values in (("licence", config.excluded_licences), ("pos", config.excluded_pos)):
        banned = ", ".join(f"'{value.replace(chr(39), chr(39) * 2)}'" for value in values) or "NULL"
        (n_rows,) = connection.execute(
            f"SELECT count(*) FROM lexicon_pairs WHERE {column} IN ({banned})"
        ).fetchall()[0]
        left_out[f"excluded_{column}"] = int(n_rows)
        allowed.append(f"({column} IN ({banned})) IS NOT TRUE")
    connection.execute(_LOAD.format(allowed=" AND ".join(allowed)))
    return left_out


def _fold_words(connection: duckdb.DuckDBPyConnection) -> None:
    words = connection.execute(
        "SELECT word_a AS word FROM lexicon_pairs WHERE strlen(word_a) <> length(word_a) "
        "UNION SELECT word_b FROM lexicon_pairs WHERE strlen(word_b) <> length(word_b)"
    ).fetchall()
    table = pa.table(
        {
            "word": pa.array((word for (word,) in words), pa.string()),
            "key": pa.array((word.casefold() for (word,) in words), pa.string()),
        }
    )
    connection.register("folded_words", table)
    connection.execute("INSERT INTO folded SELECT word, key FROM folded_words")


def settle(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Decide the label of every pair into the table ``pairs`` and return counts of conflicts."""
    connection.execute(_SETTLE)
    row = connection.execute(
        "SELECT count(*) FILTER (antonym_rank IS NOT NULL AND synonym_rank IS NOT NULL), "
        "count(*) FILTER (antonym_rank = synonym_rank) FROM verdicts"
    ).fetchall()[0]
    return {"conflicts": int(row[0]), "conflicts_within_a_tier": int(row[1])}


_LOAD = """
INSERT INTO origins
WITH keyed AS (
    SELECT p.*, coalesce(a.key, lower(p.word_a)) AS ka, coalesce(b.key, lower(p.word_b)) AS kb
    FROM lexicon_pairs p
    LEFT JOIN folded a ON a.word = p.word_a
    LEFT JOIN folded b ON b.word = p.word_b
    WHERE {allowed}
)
SELECT least(ka, kb), greatest(ka, kb), if(ka < kb, word_a, word_b), if(ka < kb, word_b, word_a),
       relation, weight, 0, '', '', source, pos, sense, tags, [licence]
FROM keyed WHERE ka <> kb
"""

_SETTLE = """
CREATE TABLE verdicts AS
SELECT *, if(antonym_rank <= synonym_rank OR synonym_rank IS NULL, 'antonym', 'synonym') AS relation
FROM (
    SELECT key_a, key_b, count(*) AS n_origins,
           min(rank) FILTER (relation = 'antonym') AS antonym_rank,
           min(rank) FILTER (relation = 'synonym') AS synonym_rank
    FROM origins GROUP BY key_a, key_b
);

CREATE TABLE pairs AS
WITH agreed AS (
    SELECT o.*, v.n_origins FROM origins o JOIN verdicts v
    ON o.key_a = v.key_a AND o.key_b = v.key_b AND o.relation = v.relation
),
joined AS (
    -- Most pairs have one origin and need no aggregation, which costs ten times as much.
    SELECT word_a, word_b, relation, weight, rank,
           {'rank': rank, 'weight': -weight, 'affix': affix, 'parent': parent} AS best,
           licences, [source] AS sources
    FROM agreed WHERE n_origins = 1
    UNION ALL
    -- Of several spellings the greatest is kept: lower case comes after upper case.
    SELECT max(word_a) AS word_a, max(word_b) AS word_b, relation, max(weight) AS weight,
           min(rank) AS rank,
           min({'rank': rank, 'weight': -weight, 'affix': affix, 'parent': parent}) AS best,
           list_sort(list_distinct(flatten(list(licences)))) AS licences,
           list_sort(list(DISTINCT source)) AS sources
    FROM agreed WHERE n_origins > 1 GROUP BY key_a, key_b, relation
)
SELECT least(word_a, word_b) AS word_a, greatest(word_a, word_b) AS word_b, relation, weight, tier,
       best.affix AS affix, best.parent AS parent, licences, sources
FROM joined JOIN tiers USING (rank);
"""

_PAIRS_SQL = "SELECT * FROM pairs ORDER BY word_a, word_b, relation"
_ORIGINS_SQL = """
SELECT word_a, word_b, relation, weight, tier, affix, parent, source, pos, sense, tags, licences
FROM origins JOIN tiers USING (rank) ORDER BY ALL
"""
