"""What a generated answer is worth: a label is known by its letter, a passage's answer by F1."""

import re
import string
from collections import Counter
from collections.abc import Sequence

from dskd_core.prompts.questions import UNANSWERABLE

_LABEL = re.compile(r"[\s(\[*]*([A-Za-z]|[1-9])(?![^\s.:,;)\]*])(?!\s+\w)")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def label_in(answer: str, labels: Sequence[str]) -> str | None:
    """Return the label that a generated answer names, or None where it names none.

    It is the first character of the first line, brackets and stars aside, where nothing but
    punctuation follows in that word, and no further word follows directly: ``B``, ``(b)``,
    ``B. wood`` and ``2)`` name one; ``Because``, ``A dog`` and an empty answer do not. A label
    the question does not have is none.

    >>> [label_in(text, "ABC") for text in (" B", "(b)", "B. wood", "A dog", "Because", "D")]
    ['B', 'B', 'B', None, None, None]
    """
    found = _LABEL.match(answer.strip().partition("\n")[0])
    label = found[1].upper() if found else ""
    return label if label and label in labels else None


def passage_scores(answer: str, gold: Sequence[str]) -> tuple[float, float]:
    r"""Return F1 and exact match of a generated answer: its first line, ``no answer`` for none.

    >>> passage_scores("the Rhine river\nQ:", ["Rhine", "Rhine delta"])
    (0.6666666666666666, 0.0)
    >>> passage_scores("No answer.", ["no answer"]), passage_scores("Rhine", ["no answer"])
    ((1.0, 1.0), (0.0, 0.0))
    """
    written = answer.strip().partition("\n")[0]
    none = normalised(written) == UNANSWERABLE
    return squad_scores("" if none else written, [text for text in gold if text != UNANSWERABLE])


def squad_scores(answer: str, gold: Sequence[str]) -> tuple[float, float]:
    """Return F1 and exact match as the official SQuAD v2 script counts them.

    Of several accepted answers the best counts. Without one, as for an unanswerable question,
    only an empty answer is right.

    >>> squad_scores("", []), squad_scores("unanswerable", [])
    ((1.0, 1.0), (0.0, 0.0))
    """
    accepted = [words for text in gold if (words := normalised(text))] or [""]
    written = normalised(answer)
    f1 = max(_f1(written, words) for words in accepted)
    return f1, float(any(written == words for words in accepted))


def normalised(text: str) -> str:
    """Return lower-case words without punctuation and articles, as the official script does.

    >>> normalised(" The  U.S. Army, an army")
    'us army army'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def _f1(answer: str, gold: str) -> float:
    """Return the F1 of two normalised texts' words; empty ones agree only with each other."""
    words, wanted = answer.split(), gold.split()
    if not words or not wanted:
        return float(words == wanted)
    n_shared = sum((Counter(words) & Counter(wanted)).values())
    precision, recall = n_shared / len(words), n_shared / len(wanted)
    return 2 * precision * recall / (precision + recall) if n_shared else 0.0
