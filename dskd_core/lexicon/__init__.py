"""Human sources of word relations, each read into the same typed rows."""

from dskd_core.lexicon.store import DERIVATIONS, LEXICON_PAIRS, build_lexicon

__all__ = ["DERIVATIONS", "LEXICON_PAIRS", "build_lexicon"]
