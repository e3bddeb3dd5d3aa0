"""What people take away to curate the lexicon: an exclude list, or a word-pair file."""

from collections.abc import Iterable, Mapping
from typing import Any

from dskd_core.explorer.opened import OpenDictionary

_WEIGHTS = """
WITH asked AS (
    SELECT unnest($a::VARCHAR[]) AS a, unnest($b::VARCHAR[]) AS b,
           unnest($relation::VARCHAR[]) AS relation
)
SELECT a, b, relation, weight FROM asked JOIN pairs USING (relation)
WHERE word_a = least(a, b) AND word_b = greatest(a, b)
   OR word_a = greatest(a, b) AND word_b = least(a, b)
"""


def weights(
    opened: OpenDictionary, pairs: Iterable[tuple[str, str, str]]
) -> dict[tuple[str, str, str], float]:
    """Return the weights of related words; those that the lexicon does not relate are missing."""
    asked = list(pairs)
    columns = {name: [pair[i] for pair in asked] for i, name in enumerate(("a", "b", "relation"))}
    rows = opened.queries.rows(_WEIGHTS, columns, "pairs") if asked else []
    return {(row["a"], row["b"], row["relation"]): row["weight"] for row in rows}


def exclude_lines(pairs: Iterable[tuple[str, ...]]) -> str:
    r"""Write pairs as an exclude list of the lexicon.

    >>> exclude_lines([("hot", "cold", "antonym")])
    'word_a\tword_b\trelation\nhot\tcold\tantonym\n'
    """
    return _lines(["word_a", "word_b", "relation"], pairs)


def pair_lines(pairs: Iterable[tuple[str, str, str]], known: Mapping[Any, float]) -> str:
    r"""Write pairs as a word-pair file, for its relations and weights to be edited.

    Args:
        pairs: two words and their relation.
        known: the weights that the lexicon has of them; 1 where it has none.

    >>> pair_lines([("hot", "cold", "antonym")], {("hot", "cold", "antonym"): 0.25})
    'word_a\tword_b\trelation\tweight\nhot\tcold\tantonym\t0.25\n'
    """
    rows = [(*pair, f"{known.get(pair, 1.0):.6g}") for pair in pairs]
    return _lines(["word_a", "word_b", "relation", "weight"], rows)


def _lines(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    return "".join("\t".join(row) + "\n" for row in [header, *rows])
