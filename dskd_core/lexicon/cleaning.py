"""What counts as a word: one spelling of it, and codes for what is none."""

import re
import unicodedata

MAX_LETTERS = 60
MAX_PARTS = 5
MAX_MARKS = 200
_MARKUP = re.compile(r"[<>{}\[\]|=\\_/@#*^~+:;\"()!?]|https?|\.\.\.|…")
# Most words by far: letters, with single spaces, hyphens and apostrophes between them.
_PLAIN = re.compile(r"(?=.{1,60}\Z)[A-Za-z]+(?:-[A-Za-z]+|'[A-Za-z]+)*(?: [A-Za-z]+){0,4}")
_LETTER = re.compile(r"[^\W\d_]")
_EDGES = "- ,.'’‘“”"


def tidy(text: str) -> str:
    r"""Return ``text`` in NFC with single spaces and none at its ends.

    A text with more than ``MAX_MARKS`` combining marks in a row is left as it is.

    >>> tidy("  cafe\u0301   noir ")
    'café noir'
    """
    if text.isalpha() and text.isascii():
        return text
    plain = " ".join(text.split())
    return plain if plain.isascii() or _is_stacked(plain) else unicodedata.normalize("NFC", plain)


def _is_stacked(text: str) -> bool:
    """Say whether so many marks stand on one letter that sorting them would be quadratic."""
    n_marks = 0
    for letter in text if len(text) > MAX_MARKS else "":
        n_marks = n_marks + 1 if unicodedata.combining(letter) else 0
        if n_marks > MAX_MARKS:
            return True
    return False


def clean(text: str) -> tuple[str, str | None]:
    """Return ``text`` tidied, and why it is no word of a lexicon, or None if it is one.

    >>> clean("  river  bank"), clean("Template:syn")
    (('river bank', None), ('Template:syn', 'markup'))
    """
    if text.isascii() and text.isalpha() and len(text) <= MAX_LETTERS:
        return text, None
    word = tidy(text)
    return word, fault_of(word)


def fault_of(word: str) -> str | None:
    """Return why a tidy text is no word of a lexicon, or None if it is one.

    >>> [fault_of(w) for w in ("river bank", "Template:syn", "): feline cat", "1984", "-ness")]
    [None, 'markup', 'markup', 'no_letter', 'affix']
    """
    if _PLAIN.fullmatch(word):
        return None
    if not word or not _LETTER.search(word):
        return "no_letter"
    if _MARKUP.search(word) or not word.isprintable():
        return "markup"
    if word[0] in _EDGES or word[-1] in ",‘“-":
        return "affix" if "-" in (word[0], word[-1]) else "punctuation"
    if len(word) > MAX_LETTERS or word.count(" ") >= MAX_PARTS:
        return "too_long"
    return None
