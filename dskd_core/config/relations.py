"""Which pairs are kept, and how negation expands them."""

from typing import Annotated, Literal

from pydantic import Field

from dskd_core.config.lexicon import SourceConfig
from dskd_core.config.settings import Settings, Share, Texts


class RelationsConfig(Settings):
    """Pairs of words, joined from all sources and expanded by negation (Table 1)."""

    negation_tiers: Annotated[
        tuple[Literal["sure", "likely", "loose"], ...], Field(max_length=3)
    ] = ("sure", "likely", "loose")
    """Affixes that flip: sure (un-, non-, negative in-), likely (dis-, -less against -ful, -ed,
    -y), loose (-less against the bare noun, as in the paper's accurate/fault)."""
    tier_weights: dict[Literal["sure", "likely", "loose"], Share] = Field(
        default={"sure": 1.0, "likely": 0.5, "loose": 0.25}
    )
    """Weight of a pair made by an affix of each tier, against 1 for a pair read from a source."""
    excluded_licences: Texts = ()
    """Rows under these licences, and pairs derived from them, are left out (CC BY-NC-SA 4.0)."""
    excluded_pos: Texts = ()
    """Parts of speech left out (name, num)."""
    excluded_sources: Texts = ()
    """Sources whose rows, and pairs derived from them, are left out (moby)."""
    excluded_tags: Texts = ()
    """Rows with any of these tags are left out (slang, dated, rare)."""
    commercial: bool = False
    """Leave out every row whose licence forbids commercial use (NC), and pairs derived from it."""
    reference: SourceConfig | None = None
    """A lexicon to hold the affixes against in the report (wordnet); adds no pairs."""
