"""WordNet databases: Princeton's ``data.*`` files, as Debian, npm and WNdb archives carry them.

Read here and not by a library: nltk's reader wants ``lexnames`` and the exception lists, which
those folders lack in part, and refuses folders outside its own; wn reads other formats. A line is

    offset file type n_words word id ... n_pointers symbol offset pos source-target ... | gloss

with the numbers of words and the halves of source-target in hexadecimal (wndb(5)).
"""

import re
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from dskd_core.lexicon.cleaning import clean, tidy
from dskd_core.lexicon.registry import reader
from dskd_core.lexicon.rows import PairRow, Relation, Source
from dskd_core.store import input_files

FILES = {"data.adj": "adj", "data.adv": "adv", "data.noun": "noun", "data.verb": "verb"}
_ANTONYM = "!"
_QUOTED = re.compile(r'"([^"]+)"')
_NOTICE = b"  "  # the licence stands above the synsets, indented


class Synset(NamedTuple):
    """Words of one meaning.

    Attributes:
        words: its lemmas, in their order.
        antonyms: (place of a lemma here, offset of another synset, place of a lemma there); places
            count from 1.
        gloss: the definition, without examples.
        examples: the sentences and phrases its lemmas are shown in.
    """

    words: tuple[str, ...]
    antonyms: tuple[tuple[int, int, int], ...]
    gloss: str
    examples: tuple[str, ...] = ()


@reader("wordnet", PairRow, licence="WordNet 3.0", files=tuple(FILES))
def read_pairs(source: Source) -> Iterator[PairRow]:
    """Yield the lemmas of each synset as synonyms, and the direct antonyms, once from each side.

    Holds the synsets of one part of speech in memory. Counted: wrong_shape, long_line and not_utf8
    of each file (with lines), no_such_synset, self_link, and the codes of ``cleaning.fault_of``.
    """
    for name, pos in FILES.items():
        synsets = dict(read_synsets(source.path / name, source.report.count))
        for synset in synsets.values():
            for word_a, word_b in combinations(synset.words, 2):
                yield from _pair(word_a, word_b, "synonym", pos, synset.gloss, source)
            for here, offset, there in synset.antonyms:
                other = synsets.get(offset)
                if other is None or not 0 < there <= len(other.words):
                    source.report.count("no_such_synset")
                    continue
                word_a, word_b = synset.words[here - 1], other.words[there - 1]
                yield from _pair(word_a, word_b, "antonym", pos, synset.gloss, source)
        source.advance((source.path / name).stat().st_size)


def read_synsets(path: Path, count: Callable[[str, int], None]) -> Iterator[tuple[int, Synset]]:
    """Yield the synsets of a data file by their offset.

    Args:
        path: such as ``data.noun``.
        count: told the code and the number of every line that is left out.
    """
    with input_files.opened(path) as file:
        for number, line in enumerate(input_files.lines_of(file), 1):
            if line is None:
                count(f"long_line:{path.name}", number)
                continue
            if line.startswith(_NOTICE) or not line.strip():
                continue
            try:
                yield _synset(line.decode("utf-8"))
            except UnicodeDecodeError:
                count(f"not_utf8:{path.name}", number)
            except (ValueError, IndexError):
                count(f"wrong_shape:{path.name}", number)


def _synset(line: str) -> tuple[int, Synset]:
    """Read a line of a data file.

    >>> line = '00002098 00 a 01 unable(p) 0 001 ! 00001740 a 0101 | not able; "unable to go"'
    >>> offset, synset = _synset(line)
    >>> offset, synset.words, synset.antonyms
    (2098, ('unable',), ((1, 1740, 1),))
    >>> synset.gloss, synset.examples
    ('not able', ('unable to go',))
    """
    text, _, gloss = line.partition(" | ")
    fields = text.split()
    n_words = int(fields[3], 16)
    words = tuple(fields[4 : 4 + 2 * n_words : 2])
    at = 4 + 2 * n_words
    pointers = fields[at + 1 : at + 1 + 4 * int(fields[at])]
    antonyms = tuple(
        (int(places[:2], 16), int(offset), int(places[2:], 16))
        for symbol, offset, _, places in zip(*(pointers[i::4] for i in range(4)), strict=True)
        if symbol == _ANTONYM
    )
    if len(words) != n_words or any(not 0 < here <= n_words for here, *_ in antonyms):
        raise ValueError(line)
    # Adjectives may end in a mark of their place, such as (p); underscores stand for spaces.
    plain = tuple(word.partition("(")[0].replace("_", " ") for word in words)
    definition, mark, shown = gloss.partition('; "')
    examples = tuple(tidy(text) for text in _QUOTED.findall(mark[2:] + shown))
    return int(fields[0]), Synset(plain, antonyms, tidy(definition), examples)


def _pair(
    word_a: str, word_b: str, relation: Relation, pos: str, gloss: str, source: Source
) -> Iterator[PairRow]:
    (word_a, code_a), (word_b, code_b) = clean(word_a), clean(word_b)
    code = code_a or code_b or ("self_link" if word_a.casefold() == word_b.casefold() else None)
    if code is not None:
        source.report.count(code)
        return
    yield PairRow(
        word_a=word_a,
        word_b=word_b,
        relation=relation,
        source=source.name,
        pos=pos,
        sense=gloss,
        tags=(),
        licence=source.licence,
        weight=1.0,
    )
