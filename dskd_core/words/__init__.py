"""Words as the teacher's tokens."""

from dskd_core.words.store import HEADWORDS, NEIGHBOURS, SPELLINGS, build_words

__all__ = ["HEADWORDS", "NEIGHBOURS", "SPELLINGS", "build_words"]
