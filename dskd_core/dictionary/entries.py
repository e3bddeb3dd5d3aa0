"""What a dictionary holds of one word: its senses as vectors, its synonyms and antonyms by name."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dskd_core.dictionary.queries import Queries, Sources
from dskd_core.dictionary.store import GROUP
from dskd_core.store.arrays import get_array
from dskd_core.store.artifacts import Artifact, ArtifactStore


@dataclass(frozen=True)
class Entry:
    """A word of the dictionary.

    Attributes:
        word: as the lexicon writes it.
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
    queries = Queries(Sources(store, dictionary))
    known = queries.known(word)
    if (spelled := queries.spelling(known)) is None:
        raise queries.unknown(word)
    pairs = queries.relations(known)
    related = {
        relation: {p["neighbour"]: p["weight"] for p in pairs if p["relation"] == relation}
        for relation in ("synonym", "antonym")
    }
    start, stop = (max(0, spelled[name]) for name in ("row_start", "row_stop"))
    return Entry(
        known,
        tuple(spelled["token_ids"]),
        get_array(dictionary.group(GROUP), "rows", slice(start, stop)),
        related["synonym"],
        related["antonym"],
    )
