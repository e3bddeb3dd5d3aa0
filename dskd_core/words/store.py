"""Words spelled with the teacher's tokenizer: which are headwords, which neighbours fit.

spellings.parquet   word_id int32, word, token_ids list<int32>, n_tokens int32
headwords.parquet   token_id int32, word_id int32: the word that a token is
neighbours.parquet  headword int32, neighbour int32 (both word ids), relation, weight float, tier
"""

from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from dskd_core.config import WordsConfig
from dskd_core.decoder.tokenizer import Tokenizer, load_tokenizer
from dskd_core.progress import Progress, silent
from dskd_core.relations import PAIRS
from dskd_core.store.artifacts import Artifact, ArtifactStore, Draft, Work
from dskd_core.store.parquet import database, write_query
from dskd_core.words.spelling import is_headword, map_variants, spell, token_texts

SPELLINGS = "spellings.parquet"
HEADWORDS = "headwords.parquet"
NEIGHBOURS = "neighbours.parquet"
SPANS = (1, 2, 3, 4)
_STEPS = 4
_BATCH_WORDS = 65536
_SPELLED = pa.schema(
    [
        ("word", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
        ("n_tokens", pa.int32()),
        ("may_lead", pa.bool_()),
    ]
)


def build_words(
    store: ArtifactStore,
    config: WordsConfig,
    relations: Artifact,
    teacher: Artifact,
    *,
    progress: Progress = silent,
) -> Artifact:
    """Spell every word of the relations, and keep the pairs whose neighbour fits in m tokens.

    A headword is a word of at least ``min_letters`` letters that is one token after a space; its
    neighbours have at most ``max_span`` (m of Eq. 2) tokens. A pair of two headwords gives two
    rows.

    Of ``teacher`` the tokenizer alone is read.
    """
    tokenizer = load_tokenizer(teacher.folder())
    inputs = {"relations": relations.fingerprint, "tokenizer": tokenizer.fingerprint}
    work = Work("words", config=config.model_dump(mode="json"), inputs=inputs, version=2)
    found = store.find(work)
    if found is not None:
        return found
    with store.publish(work) as draft, database() as connection:
        pairs = connection.from_parquet(str(relations.folder() / PAIRS))
        connection.register("pairs", pairs)
        headwords, unspelled = load_spellings(connection, tokenizer, config)
        progress(1, _STEPS, "steps")
        variants = map_variants(token_texts(tokenizer), headwords)
        progress(2, _STEPS, "steps")
        _write(draft, connection, variants)
        progress(3, _STEPS, "steps")
        draft.report["left_out"] = _left_out(connection, config, unspelled)
        draft.report["coverage"] = coverage(connection)
        progress(_STEPS, _STEPS, "steps")
    return store.get(work.stage, work.fingerprint)


def load_spellings(
    connection: duckdb.DuckDBPyConnection, tokenizer: Tokenizer, config: WordsConfig
) -> tuple[dict[str, int], int]:
    """Fill the tables ``spelled`` (all words) and ``words`` (those of at most m tokens).

    Returns:
        The headwords with their ids, and the number of words the tokenizer cannot write.
    """
    rows = connection.execute(
        "SELECT word_a FROM pairs UNION SELECT word_b FROM pairs ORDER BY 1"
    ).fetchall()
    batches = list(_spelled(tokenizer, [word for (word,) in rows], config))
    spelled = pa.Table.from_batches(batches, _SPELLED)
    connection.register("spelled_words", spelled)
    connection.execute("CREATE TABLE spelled AS SELECT * FROM spelled_words")
    connection.execute(
        "CREATE TABLE words AS SELECT (row_number() OVER (ORDER BY word) - 1)::INT AS word_id, * "
        f"FROM spelled WHERE n_tokens <= {config.max_span}"
    )
    headwords = connection.execute("SELECT word, word_id FROM words WHERE may_lead").fetchall()
    return dict(headwords), len(rows) - len(spelled)


def _spelled(
    tokenizer: Tokenizer, words: list[str], config: WordsConfig
) -> Iterator[pa.RecordBatch]:
    """Yield the words that can be written, in batches, so that few Python rows live at once."""
    for start in range(0, len(words), _BATCH_WORDS):
        every = spell(tokenizer, words[start : start + _BATCH_WORDS])
        written = [(word, ids) for word, ids in every if ids is not None]
        lengths = [len(ids) for _, ids in written]
        columns = (
            [word for word, _ in written],
            [ids for _, ids in written],
            lengths,
            [
                n == 1 and is_headword(word, config.min_letters)
                for (word, _), n in zip(written, lengths, strict=True)
            ],
        )
        yield pa.record_batch(
            [pa.array(c, f.type) for c, f in zip(columns, _SPELLED, strict=True)], schema=_SPELLED
        )


def _write(
    draft: Draft, connection: duckdb.DuckDBPyConnection, variants: list[tuple[int, int]]
) -> None:
    draft.counts["n_words"] = write_query(
        connection,
        "SELECT word_id, word, token_ids, n_tokens FROM words ORDER BY word_id",
        draft.path(SPELLINGS),
    )
    columns = np.array(variants, np.int32).reshape(-1, 2)
    draft.write_table(HEADWORDS, pa.table({"token_id": columns[:, 0], "word_id": columns[:, 1]}))
    draft.counts["n_headword_tokens"] = len(columns)
    draft.counts["n_headwords"] = len(np.unique(columns[:, 1]))
    draft.counts["n_neighbours"] = write_query(connection, _NEIGHBOURS_SQL, draft.path(NEIGHBOURS))


def coverage(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Return for each m how many pairs m tokens keep, counted in two ways.

    ``share_of_pairs_with_a_headword``: of the pairs with a headword, those whose other word fits
    in m tokens. ``share_of_all_pairs``: of all pairs that can be written, with a headword or not,
    those both of whose words fit in m tokens.
    """
    n_headed, n_all, *kept = connection.execute(_COVERAGE_SQL).fetchall()[0]
    return [
        {
            "max_span": span,
            "n_pairs": n_kept,
            "n_headed": n_headed,
            "share_of_pairs_with_a_headword": round(n_kept / n_headed, 4) if n_headed else 0.0,
            "share_of_all_pairs": round(n_within / n_all, 4) if n_all else 0.0,
        }
        for span, n_kept, n_within in zip(SPANS, kept[::2], kept[1::2], strict=True)
    ]


def _left_out(
    connection: duckdb.DuckDBPyConnection, config: WordsConfig, n_unspelled: int
) -> dict[str, int]:
    (n_long,) = connection.execute(
        f"SELECT count(*) FROM spelled WHERE n_tokens > {config.max_span}"
    ).fetchall()[0]
    n_pairs, n_unwritten, n_without = connection.execute(_PAIRS_SQL).fetchall()[0]
    return {
        "pairs": n_pairs,
        "pairs_with_a_word_that_cannot_be_written": n_unwritten,
        "pairs_without_a_headword": n_without,
        "words_that_cannot_be_written": n_unspelled,
        "words_of_more_than_max_span_tokens": n_long,
    }


_NEIGHBOURS_SQL = """
WITH both_ways AS (
    SELECT word_a AS headword, word_b AS neighbour, relation, weight, tier FROM pairs
    UNION ALL
    SELECT word_b, word_a, relation, weight, tier FROM pairs
)
SELECT h.word_id AS headword, n.word_id AS neighbour, relation, weight, tier
FROM both_ways b
JOIN words h ON h.word = b.headword AND h.may_lead
JOIN words n ON n.word = b.neighbour
ORDER BY h.word_id, n.word_id, relation
"""
_JOINED = """
FROM pairs p LEFT JOIN spelled a ON a.word = p.word_a LEFT JOIN spelled b ON b.word = p.word_b
"""
_FITS = """
count(*) FILTER ((a.may_lead AND b.n_tokens <= {span}) OR (b.may_lead AND a.n_tokens <= {span})),
count(*) FILTER (a.n_tokens <= {span} AND b.n_tokens <= {span})
"""
_COVERAGE_SQL = f"""
SELECT count(*) FILTER (a.may_lead OR b.may_lead), count(*),
       {", ".join(_FITS.format(span=span) for span in SPANS)}
{_JOINED} WHERE a.word IS NOT NULL AND b.word IS NOT NULL
"""
_PAIRS_SQL = f"""
SELECT count(*), count(*) FILTER (a.word IS NULL OR b.word IS NULL),
       count(*) FILTER (NOT coalesce(a.may_lead, false) AND NOT coalesce(b.may_lead, false))
{_JOINED}
"""
