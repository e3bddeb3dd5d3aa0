"""Negation expansion by parity: each negated word of a pair stripped turns its label once.

quit / discontinue          synonym  ->  quit / continue        antonym
variable / unchangeable     antonym  ->  variable / changeable  synonym
unkind / unfriendly         synonym  ->  kind / friendly        synonym   (turned twice)
"""

import unicodedata

import duckdb
import pyarrow as pa

from dskd_core.config import RelationsConfig
from dskd_core.lexicon import DERIVATIONS
from dskd_core.lexicon.rows import DerivationRow
from dskd_core.relations.affix_matching import find_negations
from dskd_core.relations.morphology import Negation, Tier
from dskd_core.store.artifacts import Artifact

_RANKS = {"sure": 1, "likely": 2, "loose": 3}
_LOOSE = _RANKS["loose"]


def fold(word: str) -> str:
    """Return the key two spellings of one word share: case folded, in NFC.

    >>> fold("Straße") == fold("STRASSE")
    True
    """
    return unicodedata.normalize("NFC", word.casefold())


def read_derivations(lexicon: Artifact) -> list[DerivationRow]:
    """Return the derivations of a lexicon."""
    columns = [column.to_pylist() for column in lexicon.table(DERIVATIONS).columns]
    return [DerivationRow(*values) for values in zip(*columns, strict=True)]


def load_negations(
    connection: duckdb.DuckDBPyConnection, rows: list[DerivationRow], config: RelationsConfig
) -> dict[str, int]:
    """Fill the table ``negations`` from allowed derivations and return counts.

    Left out: tiers not asked for or of weight 0, and bases that occur neither in a pair nor in a
    derivation. Without any derivation nothing is negated.
    """
    factors = {tier: config.tier_weights.get(tier, 0.0) for tier in config.negation_tiers}
    words = {word for (word,) in connection.execute(_WORDS).fetchall()} if rows else ()
    found = [n for n in find_negations(rows, words) if factors.get(n.tier)]
    _insert(connection, found, factors)
    attested = {fold(word) for row in rows for word in (row.word, row.base)}
    connection.register("derived_words", pa.table({"key": pa.array(sorted(attested), pa.string())}))
    connection.execute(_ATTESTED)
    (n_words, n_kept), *_ = connection.execute(
        "SELECT count(DISTINCT key), count(*) FROM negations"
    ).fetchall()
    return {"negated_words": int(n_words), "negations": int(n_kept)}


def _insert(
    connection: duckdb.DuckDBPyConnection, found: list[Negation], factors: dict[Tier, float]
) -> None:
    negations = pa.table(
        {
            "key": pa.array((fold(n.word) for n in found), pa.string()),
            "base_key": pa.array((fold(n.base) for n in found), pa.string()),
            "base": pa.array((n.base for n in found), pa.string()),
            "affix": pa.array((n.affix for n in found), pa.string()),
            "rank": pa.array((_RANKS[n.tier] for n in found), pa.int8()),
            "factor": pa.array((factors[n.tier] for n in found), pa.float32()),
            "pos": pa.array((n.pos for n in found), pa.string()),
            "licences": pa.array((n.licences for n in found), pa.list_(pa.string())),
        }
    )
    connection.register("found_negations", negations)
    connection.execute("INSERT INTO negations SELECT DISTINCT * FROM found_negations")


def expand(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Add to ``origins`` every pair that stripping makes, and return counts.

    A negation applies where the parts of speech agree or one is unknown. The weight is the
    parent's times the tier's. A bare noun (tier loose) is never half of a pair turned twice:
    faultless / careless does not make fault / care synonyms.
    """
    connection.execute(_EXPAND)
    (n_self,) = connection.execute("SELECT count(*) FROM made WHERE key_a = key_b").fetchall()[0]
    connection.execute(_KEEP)
    return {"derived_self_pairs": int(n_self)}


_WORDS = "SELECT word_a FROM origins UNION SELECT word_b FROM origins"

_ATTESTED = """
DELETE FROM negations WHERE base_key NOT IN (
    SELECT key_a FROM origins UNION SELECT key_b FROM origins UNION SELECT key FROM derived_words
)
"""

_EXPAND = f"""
CREATE TABLE made AS
WITH parents AS (
    SELECT *, least(word_a, word_b) || '|' || greatest(word_a, word_b) AS pair FROM origins
),
stripped_a AS (
    SELECT p.*, n.base_key AS new_key, n.base AS new_word, n.affix AS new_affix,
           n.rank AS new_rank, n.factor AS factor, n.licences AS new_licences
    FROM parents p JOIN negations n ON n.key = p.key_a
    WHERE n.pos = '' OR p.pos = '' OR n.pos = p.pos
),
stripped_b AS (
    SELECT p.*, n.base_key AS new_key, n.base AS new_word, n.affix AS new_affix,
           n.rank AS new_rank, n.factor AS factor, n.licences AS new_licences
    FROM parents p JOIN negations n ON n.key = p.key_b
    WHERE n.pos = '' OR p.pos = '' OR n.pos = p.pos
)
SELECT new_key AS key_a, key_b, new_word AS word_a, word_b, 1 AS n_turns, relation,
       weight * factor AS weight, new_rank AS rank, new_affix AS affix, pair AS parent,
       source, pos, sense, tags, licences || new_licences AS licences
FROM stripped_a
UNION ALL
SELECT key_a, new_key, word_a, new_word, 1, relation,
       weight * factor, new_rank, new_affix, pair, source, pos, sense, tags,
       licences || new_licences
FROM stripped_b
UNION ALL
SELECT a.new_key, n.base_key, a.new_word, n.base, 2, a.relation,
       a.weight * a.factor * n.factor, greatest(a.new_rank, n.rank),
       a.new_affix || ' ' || n.affix, a.pair, a.source, a.pos, a.sense, a.tags,
       a.licences || a.new_licences || n.licences
FROM stripped_a a JOIN negations n ON n.key = a.key_b
WHERE (n.pos = '' OR a.pos = '' OR n.pos = a.pos)
  AND a.new_rank < {_LOOSE} AND n.rank < {_LOOSE}
"""

_KEEP = """
INSERT INTO origins
SELECT least(key_a, key_b), greatest(key_a, key_b),
       if(key_a < key_b, word_a, word_b), if(key_a < key_b, word_b, word_a),
       if((relation = 'synonym') = (n_turns = 2), 'synonym', 'antonym'),
       weight, rank, affix, parent, source, pos, sense, tags, list_sort(list_distinct(licences))
FROM made WHERE key_a <> key_b;
DROP TABLE made;
"""
