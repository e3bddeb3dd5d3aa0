"""The controls: a dictionary without relations, and one whose relations are shuffled."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dskd_core.config.recipes import Relations
from dskd_core.dictionary.neighbours import Csr, expand_ranges, without_own
from dskd_core.dictionary.store import Dictionary

_SHUFFLE_SEED = 0


def controlled(dictionary: Dictionary, relations: Relations) -> Dictionary:
    """Return the dictionary as it is, without relations, or with shuffled ones."""
    if relations == "own":
        return own_senses_only(dictionary)
    if relations == "shuffled":
        return shuffled_relations(dictionary, seed=_SHUFFLE_SEED)
    return dictionary


def own_senses_only(dictionary: Dictionary) -> Dictionary:
    """Return a dictionary without relations: the control without a lexicon."""
    none = Csr(np.zeros(dictionary.n_tokens + 1, dtype=np.int64), np.empty(0, dtype=np.int64))
    return replace(dictionary, synonyms=none, antonyms=none)


def shuffled_relations(dictionary: Dictionary, *, seed: int) -> Dictionary:
    """Return a dictionary in which tokens with relations have swapped them: the shuffled control.

    Lists keep their sizes and the set of related tokens stays, only whose they are is random; a
    row that is one of the token's own senses is left out.
    """
    related = np.flatnonzero(dictionary.has_relations())
    giver = np.arange(dictionary.n_tokens)
    giver[related] = np.random.default_rng(seed).permutation(related)
    return replace(
        dictionary,
        synonyms=_given(dictionary.synonyms, giver, dictionary.own),
        antonyms=_given(dictionary.antonyms, giver, dictionary.own),
    )


def _given(lists: Csr, giver: NDArray[np.int64], own: Csr) -> Csr:
    """Return the lists of ``giver[t]`` as those of t, without t's own rows."""
    places, owner = expand_ranges(lists.offsets[giver], lists.offsets[giver + 1])
    return without_own(lists.rows[places], owner, own, n_tokens=len(giver))
