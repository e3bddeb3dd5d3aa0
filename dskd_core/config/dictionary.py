"""The join of senses and relations (Eq. 2)."""

from typing import Annotated

from pydantic import Field

from dskd_core.config.settings import Seed, Settings


class DictionaryConfig(Settings):
    """The join of senses and relations."""

    max_synonyms: Annotated[int, Field(ge=0)] = 25
    """Most synonyms of a token used as positives; the heaviest pairs first."""
    max_antonyms: Annotated[int, Field(ge=0)] = 25
    """Most antonyms of a token used as negatives; the heaviest pairs first."""
    seed: Seed = 0
    """Breaks ties among pairs of equal weight."""
