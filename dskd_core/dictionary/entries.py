"""What a dictionary holds of one word: its senses as vectors, its synonyms and antonyms by name."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dskd_core.dictionary.store import GROUP
from dskd_core.errors import DataError
from dskd_core.store.artifacts import Artifact, ArtifactStore

_RELATED = """
SELECT relation, CASE WHEN word_a = $word THEN word_b ELSE word_a END AS word, weight
FROM pairs WHERE $word IN (word_a, word_b) ORDER BY weight DESC, word
"""
_SPELLING = "SELECT token_ids, row_start, row_stop FROM words WHERE word = $word"


@dataclass(frozen=True)
class Entry:
    """A word of the dictionary.

    Attributes:
        word: as the lexicon writes it, lower case.
        token_ids: how the teacher's tokenizer spells it.
        senses: [k, d], of its token, or composed of those of its tokens (Eq. 2); k = 0 where one of
            them never occurred.
        synonyms: words and the weights of their pairs, heaviest first.
        antonyms: likewise.
    """

    word: str
    token_ids: tuple[int, ...]
    senses: NDArray[np.floating]
    synonyms: dict[str, float]
    antonyms: dict[str, float]


def look_up(store: ArtifactStore, dictionary: Artifact, word: str) -> Entry:
    """Return the entry of a word.

    Args:
        store: the root, with the words and relations behind the dictionary.
        dictionary: its artifact.
        word: case does not matter.

    Raises:
        ArtifactError: if the words or relations are not under the root.
        DataError: if the dictionary does not have the word.
    """
    word = word.casefold().strip()
    spelled = dictionary.query(
        _SPELLING, {"word": word}, words=dictionary.table("words.parquet")
    ).to_pylist()
    if not spelled:
        raise DataError(
            f"The dictionary {dictionary.fingerprint} has no word {word!r} among its "
            f"{dictionary.record.counts['words']}; try another, or a larger lexicon."
        )
    words = store.get("words", dictionary.record.inputs["words"])
    relations = store.get("relations", words.record.inputs["relations"])
    pairs = relations.query(_RELATED, {"word": word}, pairs="pairs.parquet").to_pylist()
    related = {
        relation: {pair["word"]: pair["weight"] for pair in pairs if pair["relation"] == relation}
        for relation in ("synonym", "antonym")
    }
    start, stop = (max(0, spelled[0][name]) for name in ("row_start", "row_stop"))
    return Entry(
        word,
        tuple(spelled[0]["token_ids"]),
        np.asarray(dictionary.group(GROUP)["rows"][start:stop]),
        related["synonym"],
        related["antonym"],
    )
