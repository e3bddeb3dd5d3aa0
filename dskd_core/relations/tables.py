"""One table of pairs from all sources: matched, expanded by negation, freed of contradictions.

pairs.parquet    word_a, word_b, relation, weight float, tier (source, sure, likely, loose), affix
                 and parent (the pair negation made it from), licences list, sources list
origins.parquet  word_a to parent likewise, source, pos, sense, tags list, licences list: a row for
                 everything that is said of a pair
"""

from importlib import resources

import duckdb
import pyarrow as pa

from dskd_core.config import LexiconConfig, RelationsConfig
from dskd_core.lexicon import LEXICON_PAIRS, build_lexicon
from dskd_core.lexicon.rows import DerivationRow
from dskd_core.progress import Progress, silent
from dskd_core.relations.checks import check, compare_with_reference, quality
from dskd_core.relations.exclusions import exclude_derived
from dskd_core.relations.filters import Counts, count_left_out, resolve_filters
from dskd_core.relations.negation import expand, fold, load_negations, read_derivations
from dskd_core.relations.report import as_markdown
from dskd_core.store.artifacts import Artifact, ArtifactStore, Work
from dskd_core.store.parquet import database, write_query

PAIRS = "pairs.parquet"
ORIGINS = "origins.parquet"
QUALITY = "quality.md"
_STEPS = 5


def build_relations(
    store: ArtifactStore,
    config: RelationsConfig,
    lexicon: Artifact,
    *,
    progress: Progress = silent,
) -> Artifact:
    """Join and expand the pairs of a lexicon (Table 1 of arXiv:2602.22351).

    ``pairs.parquet`` has one row a pair of words, ``origins.parquet`` everything said of it, and
    ``quality.md`` the report for a person to read. Words
    match without regard to case and keep their spelling. Two sources that disagree: the better
    tier wins (source, sure, likely, loose), and within a tier the antonym. The weight of a pair is
    the greatest of the origins that agree with its label.
    """
    reference = _read_reference(store, config)
    work = Work(
        "relations",
        config=config.model_dump(mode="json", exclude={"reference"}),
        inputs={"lexicon": lexicon.fingerprint}
        | ({"reference": reference.fingerprint} if reference else {}),
        version=2,
    )
    found = store.find(work)
    if found is not None:
        return found
    with store.publish(work) as draft, database() as connection:
        derivations, left_out = load_origins(connection, lexicon, config)
        progress(1, _STEPS, "steps")
        counts = {f"excluded_{name}": sum(of.values()) for name, of in left_out.items()}
        counts |= load_negations(connection, derivations, config)
        progress(2, _STEPS, "steps")
        counts |= expand(connection) | exclude_derived(connection, lexicon)
        progress(3, _STEPS, "steps")
        counts |= settle(connection)
        progress(4, _STEPS, "steps")
        draft.counts["n_pairs"] = write_query(connection, _PAIRS_SQL, draft.path(PAIRS))
        draft.counts["n_origins"] = write_query(connection, _ORIGINS_SQL, draft.path(ORIGINS))
        draft.report |= {"counts": counts, "left_out": left_out, "checks": check(connection)}
        draft.report |= quality(connection)
        if reference is not None:
            draft.report["reference"] = compare_with_reference(connection, reference)
        for row in draft.report["tiers"]:
            draft.counts[f"n_{row['tier']}_{row['relation']}s"] = row["n_pairs"]
        draft.path(QUALITY).write_text(as_markdown(draft.report), "utf-8")
        progress(_STEPS, _STEPS, "steps")
    return store.get(work.stage, work.fingerprint)


def _read_reference(store: ArtifactStore, config: RelationsConfig) -> Artifact | None:
    if config.reference is None:
        return None
    return build_lexicon(store, LexiconConfig(sources=(config.reference,), morphology=()))


def load_origins(
    connection: duckdb.DuckDBPyConnection, lexicon: Artifact, config: RelationsConfig
) -> tuple[list[DerivationRow], Counts]:
    """Fill ``origins`` with the allowed pairs of the sources.

    Returns:
        The allowed derivations, and what was left out by filter and value.
    """
    connection.execute(resources.files(__package__).joinpath("schema.sql").read_text("utf-8"))
    pairs = connection.from_parquet(str(lexicon.folder() / LEXICON_PAIRS))
    connection.register("lexicon_pairs", pairs)
    rows = read_derivations(lexicon)
    filters = resolve_filters(connection, rows, config)
    left_out = count_left_out(connection, rows, filters)
    _fold_words(connection)
    connection.execute(_LOAD.format(allowed=filters.allowed))
    return [row for row in rows if filters.allows(row)], left_out


def _fold_words(connection: duckdb.DuckDBPyConnection) -> None:
    words = connection.execute(
        "SELECT word_a AS word FROM lexicon_pairs WHERE strlen(word_a) <> length(word_a) "
        "UNION SELECT word_b FROM lexicon_pairs WHERE strlen(word_b) <> length(word_b)"
    ).fetchall()
    table = pa.table(
        {
            "word": pa.array((word for (word,) in words), pa.string()),
            "key": pa.array((fold(word) for (word,) in words), pa.string()),
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
