"""The join of senses and relations (Eq. 2)."""

from dskd_core.config.settings import Neighbours, Seed, Settings


class DictionaryConfig(Settings):
    """The join of senses and relations."""

    max_synonyms: Neighbours = 25
    """Most synonyms of a token used as positives; the heaviest pairs first."""
    max_antonyms: Neighbours = 25
    """Most antonyms of a token used as negatives; the heaviest pairs first."""
    seed: Seed = 0
    """Breaks ties among pairs of equal weight."""
