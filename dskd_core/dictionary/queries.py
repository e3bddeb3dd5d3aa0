"""What is asked of a dictionary about a word, in SQL over the Parquet files behind it.

``dskd inspect``, ``look_up`` and the explorer ask here. The files are compared with their records
once, then read where they lie: a question reads the columns and row groups it needs.
"""

import threading
from collections.abc import Collection
from functools import cached_property
from typing import Any

import duckdb
import pyarrow as pa

from dskd_core.errors import DataError
from dskd_core.store import places
from dskd_core.store.artifacts import Artifact, ArtifactStore
from dskd_core.store.parquet import read_files

_MEMORY = "1GB"
_IN_MEMORY_BYTES = 64 << 20
_FILES = {
    "words": ("dictionary", "words.parquet"),
    "headwords": ("words", "headwords.parquet"),
    "pairs": ("relations", "pairs.parquet"),
    "origins": ("relations", "origins.parquet"),
    "examples": ("senses", "examples.parquet"),
}
_SPELLED = """
SELECT {column} AS word FROM {table} WHERE lower({column}) = lower($word)
ORDER BY {column} = $word DESC, {column} DESC LIMIT 1
"""
_SPELLING = "SELECT word_id, word, token_ids, row_start, row_stop FROM words WHERE word = $word"
_TOKENS = """
SELECT h.token_id FROM headwords h JOIN words w USING (word_id) WHERE w.word = $word ORDER BY 1
"""
_EXAMPLES = """
SELECT token_id, token, sense, rank, "left", written, "right", document_id FROM examples
WHERE token_id = $token ORDER BY sense, rank
"""
_RELATIONS = """
SELECT p.relation, CASE WHEN p.word_a = $word THEN p.word_b ELSE p.word_a END AS neighbour,
       p.weight, p.tier, p.affix, p.parent, p.sources, p.licences, w.row_start, w.row_stop
FROM (
    SELECT * FROM pairs WHERE word_a = $word
    UNION ALL SELECT * FROM pairs WHERE word_b = $word AND word_a <> $word
) p
LEFT JOIN words w ON w.word = CASE WHEN p.word_a = $word THEN p.word_b ELSE p.word_a END
ORDER BY p.relation DESC, p.weight DESC, neighbour
"""
_ORIGINS = """
SELECT relation, weight, tier, affix, parent, source, pos, sense, tags, licences FROM origins
WHERE lower(word_a) IN (lower($one), lower($other))
  AND lower(word_b) IN (lower($one), lower($other))
ORDER BY ALL
"""


class Sources:
    """A dictionary and what it was made from, under one root; each is opened when it is asked for.

    Every attribute raises ArtifactError if the artifact is not under the root.
    """

    def __init__(self, store: ArtifactStore, dictionary: Artifact) -> None:
        self.store, self.dictionary = store, dictionary

    @cached_property
    def senses(self) -> Artifact:
        """The sense inventory."""
        return self.store.get("senses", self.dictionary.record.inputs["senses"])

    @cached_property
    def words(self) -> Artifact:
        """The words in the teacher's tokens."""
        return self.store.get("words", self.dictionary.record.inputs["words"])

    @cached_property
    def relations(self) -> Artifact:
        """The pairs of words."""
        return self.store.get("relations", self.words.record.inputs["relations"])

    @cached_property
    def teacher(self) -> Artifact:
        """The teacher."""
        return self.store.get("teacher", self.senses.record.inputs["teacher"])


class Queries:
    """Questions about words. Threads may ask at the same time."""

    def __init__(self, sources: Sources, *, in_memory: Collection[str] = ()) -> None:
        """Ask about a dictionary.

        Args:
            sources: the dictionary and what it was made from.
            in_memory: tables that are kept in memory where their file has up to 64 MiB, for many
                questions: a word is found in a million pairs in 10 ms instead of 100.
        """
        self.sources, self._in_memory = sources, frozenset(in_memory)
        self._connection = duckdb.connect(config={"memory_limit": _MEMORY})
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let the database go; nothing can be asked any more."""
        with self._lock:
            self._connection.close()
            del self._connection

    def rows(self, sql: str, parameters: dict[str, Any], /, *tables: str) -> list[dict[str, Any]]:
        """Run SQL over some of the tables words, headwords, pairs, origins, examples."""
        return self.table(sql, parameters, *tables).to_pylist()  # type: ignore[no-any-return]

    def table(self, sql: str, parameters: dict[str, Any], /, *tables: str) -> pa.Table:
        """Run SQL over some of the tables words, headwords, pairs, origins, examples."""
        for name in tables:
            self._open(name)
        with self._connection.cursor() as cursor:
            return cursor.sql(sql, params=parameters).to_arrow_table()

    def run(self, sql: str, *tables: str) -> None:
        """Run SQL that returns nothing, over some of the tables."""
        for name in tables:
            self._open(name)
        with self._connection.cursor() as cursor:
            cursor.execute(sql)

    def add_table(self, name: str, table: pa.Table) -> None:
        """Keep a table in memory under a name of its own."""
        with self._lock, self._connection.cursor() as cursor:
            cursor.register("given", table)
            cursor.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM given")

    def spelled(self, word: str) -> str | None:
        """Return a word as the lexicon writes it; case does not matter. None if it is not there."""
        parameters = {"word": word.strip()}
        for table, column in (("words", "word"), ("pairs", "word_a"), ("pairs", "word_b")):
            sql = _SPELLED.format(table=table, column=column)
            if found := self.rows(sql, parameters, table):
                return str(found[0]["word"])
        return None

    def known(self, word: str) -> str:
        """Return a word as the lexicon writes it; case does not matter.

        Raises:
            DataError: if it is not there.
        """
        if (found := self.spelled(word)) is None:
            raise self.unknown(word)
        return found

    def spelling(self, word: str) -> dict[str, Any] | None:
        """Return word_id, token_ids, row_start and row_stop of a word; None if it has none."""
        return next(iter(self.rows(_SPELLING, {"word": word}, "words")), None)

    def tokens(self, word: str) -> list[int]:
        """Return the ids of the tokens that are this whole word."""
        return [row["token_id"] for row in self.rows(_TOKENS, {"word": word}, "headwords", "words")]

    def examples(self, token: int) -> list[dict[str, Any]]:
        """Return the text nearest to each sense of a token, the senses in order."""
        return self.rows(_EXAMPLES, {"token": token}, "examples")

    def relations(self, word: str) -> list[dict[str, Any]]:
        """Return the pairs of a word, synonyms first, the heaviest of each first."""
        return self.rows(_RELATIONS, {"word": word}, "pairs", "words")

    def origins(self, one: str, other: str) -> list[dict[str, Any]]:
        """Return everything the sources say of two words, and what negation makes of it."""
        return self.rows(_ORIGINS, {"one": one, "other": other}, "origins")

    def unknown(self, word: str) -> DataError:
        """Return the refusal of a word that the dictionary does not have."""
        dictionary = self.sources.dictionary
        return DataError(
            f"The dictionary {dictionary.fingerprint} knows no {word!r}; it has senses of "
            f"{dictionary.record.counts['words']:,} words: try another, or a larger corpus or "
            "lexicon."
        )

    def _open(self, name: str) -> None:
        with self._lock:
            if name in self._known:
                return
            stage, file = _FILES[name]
            artifact: Artifact = getattr(self.sources, stage)
            with self._connection.cursor() as cursor:
                if places.is_remote(artifact.uri):
                    cursor.register("given", artifact.table(file))
                    cursor.execute(f"CREATE TABLE {name} AS SELECT * FROM given")
                else:
                    path = artifact.checked_path(file)
                    files = read_files(cursor, [path])
                    if name in self._in_memory and path.stat().st_size <= _IN_MEMORY_BYTES:
                        files.create(name)
                    else:
                        files.create_view(name)
            self._known.add(name)
