"""A dictionary held open for many questions: its rows, its counts, its words and its search."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dskd_core.decoder.tokenizer import Tokenizer, load_tokenizer
from dskd_core.dictionary.queries import Queries, Sources
from dskd_core.dictionary.rows import RowReader, SenseCounts
from dskd_core.embeddings.layout import INDEX
from dskd_core.errors import ArtifactError, ConfigError, DataError, DskdError
from dskd_core.explorer import searches
from dskd_core.lexicon.exclusions import EXCLUSIONS
from dskd_core.store.arrays import get_array
from dskd_core.store.artifacts import Artifact, ArtifactStore

if TYPE_CHECKING:  # torch, which the first pages do not wait for
    from dskd_core.dictionary.top_tokens import TopTokenReader

_TOKEN_TEXTS = "SELECT token_id, any_value(token) AS text FROM examples GROUP BY token_id"
_HEADWORDS = "SELECT h.token_id, w.word FROM headwords h JOIN words w USING (word_id)"
_COMPOSED = "SELECT word, row_start FROM words WHERE row_start >= $first ORDER BY row_start"
_FIRST_TEXTS = """
SELECT token_id, token, sense, rank, "left", written, "right", document_id FROM examples
WHERE token_id IN (SELECT unnest($tokens::INTEGER[]))
QUALIFY row_number() OVER (PARTITION BY token_id, sense ORDER BY rank) = 1
"""
_RELATED = """
WITH asked AS (SELECT unnest($words) AS word), ends AS (
    SELECT word, word_b AS neighbour, relation, weight FROM pairs JOIN asked ON word_a = word
    UNION ALL SELECT word, word_a, relation, weight FROM pairs JOIN asked ON word_b = word
)
SELECT ends.word, neighbour, relation, row_start, row_stop
FROM ends LEFT JOIN words w ON w.word = neighbour
ORDER BY relation DESC, weight DESC, neighbour
"""
_IMPORTING = threading.Lock()
_IN_MEMORY = ("words", "headwords", "pairs")


@dataclass(frozen=True)
class Owner:
    """Whose sense a row is.

    Attributes:
        word: of the lexicon, or None for a token that is none.
        token_id: the token, or -1 for a word of several.
        text: what to call it.
        sense: its number among the senses of its token or word, from 0.
    """

    word: str | None
    token_id: int
    text: str
    sense: int


@dataclass(frozen=True)
class Relative:
    """A related word: synonym or antonym, and the rows of its senses."""

    word: str
    relation: str
    rows: range


def _name(token: str) -> str:
    """Return what to call a token, without its leading space; blanks have names."""
    return token.strip() or ("line end" if "\n" in token else "tab" if "\t" in token else "space")


def import_transformers() -> None:
    """Import what pages use of transformers, in one thread: two at once break its lazy modules."""
    with _IMPORTING:
        from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401


def choose(store: ArtifactStore, fingerprint: str = "") -> Artifact:
    """Return a dictionary of a root by its fingerprint, or by how it begins; else the newest.

    Raises:
        ArtifactError: if there is none, or none of that name.
        ConfigError: if several begin so.
    """
    found = store.of_stage("dictionary")
    meant = [a for a in found if a.fingerprint.startswith(fingerprint)]
    if fingerprint and len(meant) > 1:
        raise ConfigError(
            f"The dictionaries {', '.join(a.fingerprint for a in meant)} under {store.root_uri} "
            f"all begin with {fingerprint!r}; give more of the fingerprint."
        )
    if meant:
        return meant[-1]
    if fingerprint and found:
        raise ArtifactError(
            f"No dictionary under {store.root_uri} begins with {fingerprint!r}; those there are "
            f"{', '.join(a.fingerprint for a in found)}: name one of them."
        )
    return store.get("dictionary", fingerprint or "none")


class OpenDictionary:
    """A dictionary and everything behind it; what is large is read when it is asked for."""

    def __init__(
        self, store: ArtifactStore, artifact: Artifact, *, in_memory_bytes: int | None = None
    ) -> None:
        limit = {} if in_memory_bytes is None else {"in_memory_bytes": in_memory_bytes}
        self.store, self.artifact = store, artifact
        self.sources = Sources(store, artifact)
        self.queries = Queries(self.sources, in_memory=_IN_MEMORY)
        self.rows = RowReader(artifact, **limit)
        self.counts = SenseCounts(self.sources.senses)
        self.occurrences = self._all_occurrences()
        texts = self.queries.rows(_TOKEN_TEXTS, {}, "examples")
        self._texts: dict[int, str] = {row["token_id"]: row["text"] for row in texts}
        self.keeps_spaces = any(text.startswith(" ") for text in self._texts.values())
        headwords = self.queries.rows(_HEADWORDS, {}, "headwords", "words")
        self.word_of_token: dict[int, str] = {row["token_id"]: row["word"] for row in headwords}
        self._build_search()

    def close(self) -> None:
        """Let the database go."""
        self.queries.close()

    @cached_property
    def head(self) -> "TopTokenReader | str":
        """The teacher's head, or why it cannot be read."""
        import_transformers()
        from dskd_core.dictionary.top_tokens import load_top_token_reader

        try:
            return load_top_token_reader(self.sources.teacher)
        except DskdError as error:  # senses and relations can be shown all the same
            return str(error)

    @cached_property
    def _composed(self) -> tuple[NDArray[np.int64], list[str]]:
        """The first rows of composed words, ascending, and the words."""
        first = {"first": self.rows.n_token_rows}
        table = self.queries.table(_COMPOSED, first, "words")
        return table["row_start"].to_numpy(), table["word"].to_pylist()

    @cached_property
    def embeddings(self) -> Artifact | None:
        """The embeddings that were clustered; None where they are not under the root any more."""
        fingerprint = self.sources.senses.record.inputs.get("embeddings", "none")
        try:
            return self.store.get("embeddings", fingerprint)
        except ArtifactError:
            return None

    def _all_occurrences(self) -> NDArray[np.int64]:
        """Count the occurrences of each token that has senses, [t]; of some a sample was kept."""
        if self.embeddings is None:
            return self.counts.n_occurrences.astype(np.int64)
        index = self.embeddings.group(INDEX)
        places = np.searchsorted(get_array(index, "tokens"), self.counts.tokens)
        return np.asarray(get_array(index, "n_occurrences")[places], np.int64)

    def occurrences_of(self, token: int) -> int:
        """Return how often a token occurred, kept or not; 0 if it never did."""
        index = self.counts.place_of(token)
        return 0 if index is None else int(self.occurrences[index])

    def exclusions(self) -> list[tuple[str, ...]]:
        """Return the lines of the exclude list that this dictionary's lexicon was made with.

        Raises:
            ArtifactError: if there was one, and the lexicon is not under the root.
        """
        relations = self.sources.relations.record
        if "excluded_by_list" not in relations.report.get("counts", {}):
            return []
        lexicon = self.store.get("lexicon", relations.inputs["lexicon"])
        return [tuple(row.values()) for row in lexicon.table(EXCLUSIONS).to_pylist()]

    def text_of(self, token: int) -> str:
        """Return a token as it reads, its leading space kept."""
        if token not in self._texts:
            self._texts[token] = self._decoded(token)
        return self._texts[token]

    def _decoded(self, token: int) -> str:
        try:
            return self.decode([token]) if 0 <= token < self._tokenizer.n_tokens else str(token)
        except DskdError:  # without the teacher's tokenizer it has a number still
            return f"token {token}"

    def decode(self, ids: list[int]) -> str:
        """Return tokens as text."""
        return self._tokenizer.decode(ids)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        head: TopTokenReader | str = self.__dict__.get("head", "not read yet")
        if not isinstance(head, str):
            return head.tokenizer
        import_transformers()
        return load_tokenizer(self.sources.teacher.folder())

    def rows_of_token(self, token: int) -> range:
        """Return the rows of a token's own senses.

        Raises:
            DataError: if the vocabulary has no such token.
        """
        if not 0 <= token < len(self.rows.own_offsets) - 1:
            raise DataError(
                f"There is no token {token}; give one of 0 to {len(self.rows.own_offsets) - 2}."
            )
        start, stop = self.rows.own_offsets[token : token + 2]
        return range(int(start), int(stop))

    def rows_of_word(self, word: str) -> range:
        """Return the rows of a word's senses: of its token after a space, or composed (Eq. 2)."""
        spelling = self.queries.spelling(word)
        if spelling is None or spelling["row_start"] < 0:
            return range(0)
        return range(spelling["row_start"], spelling["row_stop"])

    def has_senses(self, word: str) -> bool:
        """Say whether a word, or a token that writes it, has senses."""
        tokens = self.queries.tokens(word)
        return bool(self.rows_of_word(word)) or any(map(self.rows_of_token, tokens))

    def owner(self, row: int) -> Owner:
        """Return whose sense a row is.

        Raises:
            DataError: if there is no such row.
        """
        if not 0 <= row < len(self.rows):
            raise DataError(f"There is no row {row}; give one of 0 to {len(self.rows) - 1}.")
        if row < self.rows.n_token_rows:
            token = int(np.searchsorted(self.rows.own_offsets, row, side="right")) - 1
            first = int(self.rows.own_offsets[token])
            word = self.word_of_token.get(token)
            return Owner(word, token, _name(self.text_of(token)), row - first)
        starts, words = self._composed
        index = int(np.searchsorted(starts, row, side="right")) - 1
        return Owner(words[index], -1, words[index], row - int(starts[index]))

    def token_name(self, token: int) -> str:
        """Return what a token is one writing of: its word, or its text, in no case of its own."""
        return (self.word_of_token.get(token) or _name(self.text_of(token))).casefold()

    @cached_property
    def _names(self) -> tuple[dict[str, int], NDArray[np.int32]]:
        """Numbers of the tokens' names, in any case and without spaces, and those of the rows."""
        numbers: dict[str, int] = {}
        of_tokens = np.zeros(len(self.rows.own_offsets) - 1, np.int32)
        for token in self.counts.tokens.tolist():
            of_tokens[token] = numbers.setdefault(self.token_name(token), len(numbers))
        return numbers, np.repeat(of_tokens, np.diff(self.rows.own_offsets))

    @property
    def names_of_rows(self) -> NDArray[np.int32]:
        """The number of the name of each token sense, [n]; one name for ``Light`` and ``light``."""
        return self._names[1]

    def name_numbers(self, names: Iterable[str]) -> list[int]:
        """Return the numbers of names that are a token's."""
        return [self._names[0][name] for name in names if name in self._names[0]]

    def search(self, text: str, limit: int = 50) -> list[dict[str, Any]]:
        """Return words and tokens that begin with a text, in any case; the frequent ones first.

        Each has text, token_id (-1 for a word), n_senses, n_synonyms, n_antonyms, n_occurrences,
        and n_found, how many there are in all.
        """
        return self.queries.rows(searches.SEARCH, {"text": text.strip(), "limit": limit})

    def tokens_that_read(self, text: str) -> list[dict[str, Any]]:
        """Return the tokens outside the lexicon that are a text, in any case."""
        return self.queries.rows(searches.TOKENS, {"text": text.strip()}) if text.strip() else []

    def most_frequent(self, n_words: int) -> list[str]:
        """Return the words with senses that occur most often, the most frequent first."""
        return [row["text"] for row in self.queries.rows(searches.FREQUENT, {"limit": n_words})]

    def suggestions(self, word: str, limit: int = 8) -> list[str]:
        """Return the known words nearest to an unknown one by edit distance, accents aside.

        A word of another letter throughout is not near.
        """
        text = word.strip()
        most = min(len(text) - 1, 1 if len(text) < 4 else 2)
        parameters = {"text": text, "limit": limit, "most": most}
        return [row["text"] for row in self.queries.rows(searches.LIKE, parameters)]

    def first_texts(self, tokens: Iterable[int]) -> dict[tuple[int, int], dict[str, Any]]:
        """Return the text nearest to each sense of tokens, by token and sense."""
        parameters = {"tokens": sorted(tokens)}
        rows = self.queries.rows(_FIRST_TEXTS, parameters, "examples") if tokens else []
        return {(row["token_id"], row["sense"]): row for row in rows}

    def related(self, words: Iterable[str]) -> dict[str, list[Relative]]:
        """Return the synonyms and antonyms of words, synonyms first, the heaviest of each first."""
        found: dict[str, list[Relative]] = {word: [] for word in words}
        asked = {"words": list(found)}
        for row in self.queries.rows(_RELATED, asked, "pairs", "words") if found else []:
            has_senses = row["row_start"] is not None and row["row_start"] >= 0
            rows = range(row["row_start"], row["row_stop"]) if has_senses else range(0)
            found[row["word"]].append(Relative(row["neighbour"], row["relation"], rows))
        return found

    def known_words(self, words: Iterable[str]) -> tuple[list[str], list[str]]:
        """Return words as the lexicon writes them, each once, and those that it does not have."""
        spelled = {word: self.queries.spelled(word) for word in words if word.strip()}
        known = dict.fromkeys(found for found in spelled.values() if found is not None)
        return list(known), [word for word, found in spelled.items() if found is None]

    def _build_search(self) -> None:
        tokens = self.counts.tokens
        columns = {
            "token_id": tokens,
            "text": [self.text_of(int(token)) for token in tokens],
            "n_senses": np.diff(self.rows.own_offsets)[tokens],
            "n_occurrences": self.occurrences,
        }
        self.queries.add_table("token_counts", pa.table(columns))
        self.queries.run(searches.FOUND, "pairs", "words", "headwords")
