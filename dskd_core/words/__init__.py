"""Words as the teacher's tokens."""

from dskd_core.words.store import HEADS, NEIGHBOURS, WORDS, build_words

__all__ = ["HEADS", "NEIGHBOURS", "WORDS", "build_words"]
