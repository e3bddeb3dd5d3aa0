"""The dictionary on disk: one matrix of senses, and three lists of its rows for every token.

``dictionary.zarr`` holds

    rows              [n, d]   float16   token senses first, composed words after them (float32 if
                                         a sense overflows float16)
    own_offsets       [V + 1]  int64     senses of token t are rows own_offsets[t]:own_offsets[t+1]
    synonym_offsets   [V + 1]  int64     CSR: senses of the synonyms of token t ...
    synonym_rows      [..]     int32
    antonym_offsets   [V + 1]  int64     ... and of its antonyms, never one of its own
    antonym_rows      [..]     int32

``words.parquet`` says which rows are whose: word, token ids, first row, one past the last.
``README.md`` says what all this is, what it came from, and under which licences.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dskd_core.config import DictionaryConfig
from dskd_core.corpus.store import load_windows
from dskd_core.decoder.tokenizer import check_same_tokenizer
from dskd_core.dictionary.card import CARD, dictionary_card, provenance
from dskd_core.dictionary.composition import compose
from dskd_core.dictionary.download import fetch_dictionary
from dskd_core.dictionary.neighbours import Csr, neighbour_rows, own_rows
from dskd_core.progress import Progress, silent
from dskd_core.senses.inventory import SenseInventory, load_senses
from dskd_core.store.arrays import get_array, put_array
from dskd_core.store.artifacts import Artifact, ArtifactStore, Draft, Work
from dskd_core.store.parquet import interruptible
from dskd_core.words import HEADWORDS, NEIGHBOURS, SPELLINGS

GROUP = "dictionary.zarr"
_WORDS_A_TIME = 4096

_LINKS = """
SELECT h.token_id AS token, n.relation, w.row_start, w.row_stop, w.n_tokens
FROM headwords h
JOIN neighbours n ON n.headword = h.word_id
JOIN words w ON w.word_id = n.neighbour
WHERE w.row_start >= 0
QUALIFY row_number() OVER (
    PARTITION BY h.token_id, n.relation
    ORDER BY n.weight DESC, md5(concat_ws('|', $seed, w.word)), w.word
) <= CASE n.relation WHEN 'synonym' THEN $max_synonyms ELSE $max_antonyms END
ORDER BY token, n.relation, n.weight DESC, md5(concat_ws('|', $seed, w.word)), w.word
"""

_PAIRS_BY_SPAN = """
SELECT w.n_tokens AS span, n.relation, count(*) AS links,
       count(*) FILTER (WHERE w.row_start >= 0) AS with_senses
FROM neighbours n JOIN words w ON w.word_id = n.neighbour
GROUP BY ALL ORDER BY ALL
"""


@dataclass(frozen=True)
class Dictionary:
    """A dictionary in memory.

    Attributes:
        rows: [n, d] float16, senses (float32 if one overflows it).
        own, synonyms, antonyms: CSR over the vocabulary: rows of a token's own senses, of its
            synonyms' and of its antonyms'.
        fingerprint: of the artifact it was read from.
    """

    rows: NDArray[np.floating]
    own: Csr
    synonyms: Csr
    antonyms: Csr
    fingerprint: str

    @property
    def n_tokens(self) -> int:
        """Size of the vocabulary V."""
        return len(self.own.offsets) - 1

    def senses_of(self, token: int) -> NDArray[np.floating]:
        """Return a token's own senses, [k_i, d]; none (k_i = 0) if it never occurred."""
        return self.rows[self.own.rows_of(token)]

    def synonyms_of(self, token: int) -> NDArray[np.floating]:
        """Return the senses of its synonyms, [n, d], those of the heaviest pair first."""
        return self.rows[self.synonyms.rows_of(token)]

    def antonyms_of(self, token: int) -> NDArray[np.floating]:
        """Return the senses of its antonyms, [n, d], those of the heaviest pair first."""
        return self.rows[self.antonyms.rows_of(token)]

    def has_relations(self) -> NDArray[np.bool_]:
        """[V] bool: whether a token has a synonym or an antonym with senses."""
        return (np.diff(self.synonyms.offsets) > 0) | (np.diff(self.antonyms.offsets) > 0)

    def has_senses(self) -> NDArray[np.bool_]:
        """[V] bool: whether a token has positives: senses of its own, or of a synonym."""
        return (np.diff(self.own.offsets) > 0) | (np.diff(self.synonyms.offsets) > 0)


def load_dictionary(artifact: Artifact | str) -> Dictionary:
    """Read a dictionary into memory.

    Args:
        artifact: of a root, or ``hub:OWNER/NAME@COMMIT``: a dataset repository that
            ``push_dictionary`` made.

    Raises:
        ArtifactError: if another version of dskd made it, which had other lists.
        ConfigError: if a text names no repository of the hub.
        DataError: if the repository holds anything but a dictionary.
    """
    if isinstance(artifact, str):
        artifact = fetch_dictionary(artifact)
    group = artifact.group(GROUP)
    own = get_array(group, "own_offsets")
    synonyms, antonyms = (
        Csr(get_array(group, f"{name}_offsets"), get_array(group, f"{name}_rows").astype(np.int64))
        for name in ("synonym", "antonym")
    )
    return Dictionary(
        get_array(group, "rows"),
        Csr(own, np.arange(int(own[-1]))),
        synonyms,
        antonyms,
        artifact.fingerprint,
    )


def build_dictionary(
    store: ArtifactStore,
    config: DictionaryConfig,
    senses: Artifact,
    words: Artifact,
    corpus: Artifact,
    *,
    progress: Progress = silent,
) -> Artifact:
    """Join senses and relations (Eq. 2), and list synonyms and antonyms of every token.

    Raises:
        ArtifactError: if senses and words were made with different tokenizers.
    """
    of_senses = str(senses.group("senses.zarr").attrs["tokenizer"])
    check_same_tokenizer(senses, of_senses, words, words.record.inputs["tokenizer"])
    work = Work(
        "dictionary",
        config.model_dump(mode="json"),
        {name: a.fingerprint for name, a in (("senses", senses), ("words", words))}
        | {"corpus": corpus.fingerprint},
        version=3,
    )
    if found := store.find(work):
        return found
    with store.publish(work) as draft:
        inventory = load_senses(senses)
        table, composed = _compose_words(inventory, words.table(SPELLINGS), draft, progress)
        draft.write_table("words.parquet", table)
        n_tokens = int(senses.group("senses.zarr").attrs["n_vocabulary"])
        own = own_rows(inventory.tokens, inventory.offsets, n_tokens=n_tokens)
        lists, draft.report["links_by_span"] = list_neighbours(config, words, table, own)
        _write(draft, [inventory.centroids, *composed], own, lists)
        _count_coverage(draft, corpus, own, lists)
        draft.report["tokenizer"] = words.record.inputs["tokenizer"]
        draft.report["sources"] = provenance(store, words)
        card = dictionary_card(
            store,
            {"senses": senses, "words": words, "corpus": corpus},
            draft.counts,
            draft.report["share_of_positions"],
            (draft.counts["rows"], inventory.centroids.shape[1]),
            _token_to_show(own, lists["antonym"]),
        )
        draft.path(CARD).write_text(card, "utf-8")
    return store.get(work.stage, work.fingerprint)


def _compose_words(
    inventory: SenseInventory, words: pa.Table, draft: Draft, progress: Progress
) -> tuple[pa.Table, list[NDArray[np.floating]]]:
    """Return the words with the rows of their senses, and the composed ones' rows in blocks.

    A word of one token has that token's senses. A word one of whose tokens has no senses has
    none (row_start -1) and is counted.
    """
    spellings = words["token_ids"].to_pylist()
    starts = np.full(len(spellings), -1, dtype=np.int64)
    stops = np.full(len(spellings), -1, dtype=np.int64)
    slot = {int(token): index for index, token in enumerate(inventory.tokens)}
    composed: list[NDArray[np.floating]] = []
    n_rows, n_done = int(inventory.offsets[-1]), 0
    for members, indices in _spelled_alike(spellings, slot):
        if indices.shape[1] == 1:
            starts[members] = inventory.offsets[indices[:, 0]]
            stops[members] = inventory.offsets[indices[:, 0] + 1]
        else:
            senses = compose(inventory.centroids, inventory.offsets, indices)
            counts = np.diff(inventory.offsets)[indices[:, 0]]
            stops[members] = n_rows + np.cumsum(counts)
            starts[members] = stops[members] - counts
            n_rows += int(counts.sum())
            real = np.arange(senses.shape[1])[None, :] < counts[:, None]
            composed.append(senses[real].astype(inventory.centroids.dtype))
        n_done += len(members)
        progress(n_done, len(spellings), "words")
    n_missing = int((starts < 0).sum())
    draft.counts |= {
        "words": len(spellings) - n_missing,
        "words_without_senses": n_missing,
        "composed_words": int((starts >= int(inventory.offsets[-1])).sum()),
        "rows": n_rows,
    }
    table = words.append_column("row_start", pa.array(starts)).append_column(
        "row_stop", pa.array(stops)
    )
    return table, composed


def _spelled_alike(
    spellings: list[list[int]], slot: dict[int, int]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield words of equal length whose tokens all have senses: (word numbers, token slots)."""
    by_length: dict[int, list[int]] = {}
    for number, spelling in enumerate(spellings):
        if all(token in slot for token in spelling):
            by_length.setdefault(len(spelling), []).append(number)
    for _, numbers in sorted(by_length.items()):
        for start in range(0, len(numbers), _WORDS_A_TIME):
            members = numbers[start : start + _WORDS_A_TIME]
            indices = [[slot[token] for token in spellings[number]] for number in members]
            yield np.array(members), np.array(indices, dtype=np.int64)


def list_neighbours(
    config: DictionaryConfig, words: Artifact, table: pa.Table, own: Csr
) -> tuple[dict[str, Csr], list[dict[str, Any]]]:
    """List the rows of every token's neighbours, heaviest first, at most the maximum of each.

    Args:
        config: the most synonyms and antonyms, and what breaks ties.
        words: an artifact of ``build_words``.
        table: its words with ``row_start`` (-1 without senses) and ``row_stop``.
        own: the tokens' own senses, which are never among the others.

    Returns:
        The lists ``synonym`` and ``antonym``, and how many links words of each span have.
    """
    with duckdb.connect() as connection, interruptible(connection):
        connection.register("words", table)
        connection.register("headwords", words.table(HEADWORDS))
        connection.register("neighbours", words.table(NEIGHBOURS))
        spans = connection.sql(_PAIRS_BY_SPAN).to_arrow_table().to_pylist()
        parameters = {
            "seed": str(config.seed),
            "max_synonyms": config.max_synonyms,
            "max_antonyms": config.max_antonyms,
        }
        links = connection.sql(_LINKS, params=parameters).to_arrow_table()
    lists = {}
    for relation in ("synonym", "antonym"):
        chosen = links.filter(pa.compute.equal(links["relation"], relation))
        token, start, stop = (
            chosen[column].to_numpy().astype(np.int64)
            for column in ("token", "row_start", "row_stop")
        )
        lists[relation] = neighbour_rows(token, start, stop, own, n_tokens=len(own.offsets) - 1)
    return lists, spans


def _write(
    draft: Draft, rows: Sequence[NDArray[np.floating]], own: Csr, lists: dict[str, Csr]
) -> None:
    group = draft.write_group(GROUP)
    put_array(group, "rows", *rows)
    arrays = {"own_offsets": own.offsets}
    for name, csr in lists.items():
        arrays |= {f"{name}_offsets": csr.offsets, f"{name}_rows": csr.rows.astype(np.int32)}
    for name, values in arrays.items():
        put_array(group, name, values)


def _token_to_show(own: Csr, antonyms: Csr) -> int:
    """Return the token with the most antonyms' senses among those with senses of their own."""
    return int((np.diff(antonyms.offsets) * (np.diff(own.offsets) > 0)).argmax())


def _count_coverage(draft: Draft, corpus: Artifact, own: Csr, lists: dict[str, Csr]) -> None:
    """Count tokens with senses and relations, and how much of the text they are."""
    has = {name: np.diff(csr.offsets) > 0 for name, csr in lists.items()}
    related = has["synonym"] | has["antonym"]
    sensed = np.diff(own.offsets) > 0
    text = load_windows(corpus).token_ids
    draft.counts |= {
        "tokens_with_senses": int(sensed.sum()),
        "tokens_with_synonyms": int(has["synonym"].sum()),
        "tokens_with_antonyms": int(has["antonym"].sum()),
    }
    draft.report["share_of_positions"] = {
        "with_senses": round(float(sensed[text].mean()), 4),
        "with_relations": round(float(related[text].mean()), 4),
        "with_antonyms": round(float(has["antonym"][text].mean()), 4),
    }
