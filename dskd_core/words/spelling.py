"""How words are spelled with a tokenizer, and which of its tokens are one whole word.

Byte-level BPE marks a leading space in the token, SentencePiece puts one before every text, and
some tokenizers do neither. So a word is never encoded alone: it is written after an anchor and a
space, as in running text, and the anchor's own tokens are taken off again.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from dskd_core.decoder.tokenizer import Tokenizer

ANCHOR = "a"
_BATCH_WORDS = 8192
_BROKEN = "\ufffd"


def spell(
    tokenizer: Tokenizer, words: Iterable[str]
) -> Iterator[tuple[str, tuple[int, ...] | None]]:
    """Yield each word with its token ids as written after a space.

    None stands for a word that the tokenizer cannot write: an unknown or special token is in it,
    or it merges with the word before.
    """
    anchor = tokenizer.encode(ANCHOR)
    stream, unusable = iter(words), tokenizer.special_ids
    while batch := list(islice(stream, _BATCH_WORDS)):
        rows = tokenizer.encode_batch([f"{ANCHOR} {word}" for word in batch])
        for word, ids in zip(batch, rows, strict=True):
            own = tuple(ids[len(anchor) :])
            whole = ids[: len(anchor)] == anchor and own and unusable.isdisjoint(own)
            yield word, own if whole else None


def token_texts(tokenizer: Tokenizer) -> Iterator[tuple[int, str]]:
    """Yield (id, what it reads as in running text, leading space kept).

    Special tokens, tokens of bytes that are no whole letter, and SentencePiece's tokens of single
    bytes are left out.
    """
    anchor = tokenizer.encode(ANCHOR)
    start = tokenizer.decode(anchor)
    names: Sequence[str | None] = tokenizer.hf.convert_ids_to_tokens(range(tokenizer.n_tokens))
    for token_id, name in enumerate(names):
        if token_id in tokenizer.special_ids or name is None or _is_byte(name):
            continue
        text = tokenizer.decode([*anchor, token_id])
        if text.startswith(start) and _BROKEN not in text:
            yield token_id, text[len(start) :]


def _is_byte(name: str) -> bool:
    return len(name) == 6 and name.startswith("<0x") and name.endswith(">")


def is_headword(word: str, min_letters: int) -> bool:
    """Say whether a word is long enough, in letters, to be a headword.

    >>> is_headword("fault", 3), is_headword("is", 3), is_headword("3-D", 3)
    (True, False, False)
    """
    return sum(letter.isalpha() for letter in word) >= min_letters


def map_variants(
    texts: Iterable[tuple[int, str]], headwords: dict[str, int]
) -> list[tuple[int, int]]:
    """Map every token that is a surface variant of a headword to that word.

    Variants are with or without the leading space, as listed, Capitalised and UPPER. A token has
    one word: the one spelled as the token before the one that only differs in case.

    Args:
        texts: (token id, text) as from ``token_texts``.
        headwords: word -> word id of the words that may be headwords.

    Returns:
        (token id, word id), sorted.

    >>> map_variants([(5, " bank"), (6, "Bank"), (7, "BANK"), (8, "bAnk")], {"bank": 0})
    [(5, 0), (6, 0), (7, 0)]
    """
    variants: dict[str, int] = {}
    for word, word_id in sorted(headwords.items(), reverse=True):
        # In reverse order lower-case words come first and keep their capitalised forms.
        for variant in (word[:1].upper() + word[1:], word.upper()):
            variants.setdefault(variant, word_id)
    variants |= headwords
    found = ((token_id, variants.get(text.removeprefix(" "))) for token_id, text in texts)
    return sorted((token_id, word_id) for token_id, word_id in found if word_id is not None)
