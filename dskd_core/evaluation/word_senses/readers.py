"""Sense-tagged data in the formats their authors publish.

    wic         X.data.txt: word, pos, index-index, sentence, sentence (tabs; the indices count the
                words between spaces from 0); X.gold.txt: T or F, a line each
    coarse_wsd  a folder for each word: classes_map.txt (JSON, number -> sense), X.data.txt: index,
                sentence (words between spaces); X.gold.txt: the number of the sense, a line each
    in_context  a table (tabs; .csv commas; with a header) or .jsonl with word, sense and sentence;
                the word's place as start and stop, as <b>word</b> or [[word]], or found by itself
                where it stands there once; optionally id and split
    pairs       a table: word_a, word_b, synonym or antonym
    graded_pairs  a table: word_a, word_b, rating; optionally relation; lines of # are comments
    wordnet_*   a WordNet folder, see ``wordnet.py``

Which files of a folder are read, and what for, is said in ``files.py``.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from dskd_core import strict_json
from dskd_core.config import TaggedSourceConfig
from dskd_core.errors import DataError, listed
from dskd_core.evaluation.word_senses import wordnet
from dskd_core.evaluation.word_senses.files import CLASSES, files_of, gold_of
from dskd_core.evaluation.word_senses.items import Context, Dirt, Item, Split, settled
from dskd_core.store import input_files

_MARKS = (("<b>", "</b>"), ("[[", "]]"))
_MAX_DIGITS = 9
_MAX_CLASSES_BYTES = 16 << 20
_MAX_WORD = 200  # letters; looking a word up costs its length at every place of a sentence
_NAMES = {
    "word": ("word", "lemma", "target"),
    "sense": ("sense", "label", "sense_id", "gold"),
    "sentence": ("sentence", "text", "context"),
    "start": ("start",),
    "stop": ("stop", "end"),
    "id": ("id", "item"),
    "split": ("split", "part"),
    "word_a": ("word_a", "word1"),
    "word_b": ("word_b", "word2"),
    "label": ("label", "relation"),
    "rating": ("rating", "score", "simlex999", "similarity", "mean", "human (mean)"),
}
PAIRS = ("pairs", "graded_pairs")
"""Kinds without sentences and without a train split."""
_RELATIONS = {"syn": "synonym", "ant": "antonym"}
Row = dict[str, Any]


def read_items(source: TaggedSourceConfig) -> tuple[list[Item], Dirt]:
    """Read a source whole: its items, each in its split, and what was left out.

    Raises:
        ConfigError: if the place holds no file of the format.
        DataError: if two files that belong together do not fit, or nothing usable is left.
    """
    dirt = Dirt()
    share, limit = 0.0 if source.kind in PAIRS else source.train_share, source.max_items
    if source.kind in wordnet.KINDS:
        found = wordnet.read_wordnet(source, dirt)
        share, limit = 0.0, None  # it divides senses and draws words itself
    else:
        found = [
            item
            for name, (path, split) in files_of(source).items()
            for item in _READERS[source.kind](path, name, split, dirt)
        ]
    items = settled(found, train_share=share, max_items=limit, dirt=dirt)
    if not any(item.split == "test" for item in items):
        left_out = ", ".join(f"{code} {n}" for code, n in dirt.counts.items()) or "no row at all"
        raise DataError(
            f"The {source.kind} source {source.uri!r} has 0 items to score ({left_out}); compare "
            "a line of it with the format in docs/evaluation.md, or lower train_share."
        )
    return items, dirt


def _labelled_lines(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield (line number, line, label) of a data file and its file of labels."""
    lines, labels = (list(input_files.utf8_lines(file)) for file in (path, gold_of(path)))
    if len(lines) != len(labels):
        raise DataError(
            f"{gold_of(path)} has {len(labels)} labels for the {len(lines)} lines of {path.name}; "
            "give the file that belongs to it."
        )
    for number, (line, label) in enumerate(zip(lines, labels, strict=True), start=1):
        if line.strip():
            yield number, line, label.strip()


def _word_at(word: str, sentence: str, index: str) -> Context | None:
    """Return the context of the ``index``-th of the words between spaces, None if there is none."""
    words = list(re.finditer(r"\S+", sentence))
    place = _number(index)
    if place is None or place >= len(words):
        return None
    found = words[place]
    return Context(word, sentence, found.start(), found.end())


def _number(text: str) -> int | None:
    """Return the number a text writes in a few digits, None if it is none."""
    return int(text) if text.isdecimal() and len(text) <= _MAX_DIGITS else None


def _read_wic(path: Path, name: str, split: Split, dirt: Dirt) -> Iterator[Item]:
    for number, line, label in _labelled_lines(path):
        place, cells = f"{name}:{number}", line.split("\t")
        indices = cells[2].split("-") if len(cells) == 5 else []
        if len(cells) != 5:
            dirt.note("wrong_columns", place)
        elif label not in {"T", "F"}:
            dirt.note("unknown_label" if label else "no_label", place)
        else:
            pairs = zip(cells[3:], indices, strict=False)
            contexts = [_word_at(cells[0].strip(), text, index) for text, index in pairs]
            whole = tuple(context for context in contexts if context is not None)
            if len(indices) == len(whole) == 2:
                yield Item(place, cells[0].strip(), label, whole, split)
            else:
                dirt.note("bad_index", place)


def _classes(path: Path) -> dict[str, str]:
    """Return the sense of each number, as texts.

    Raises:
        DataError: if the file is none of these, or is no plain file, or too large.
    """
    try:
        if not path.is_file():
            raise ValueError("it is absent, or no plain file")
        with path.open("rb") as file:
            data = input_files.read_within(file, _MAX_CLASSES_BYTES)
        if data is None:
            raise ValueError(f"it has more than {_MAX_CLASSES_BYTES:,} bytes")
        return {str(k): str(v) for k, v in strict_json.loads(data.decode("utf-8-sig")).items()}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path} is no JSON object of numbers and senses ({error}); give CoarseWSD-20's."
        ) from error


def _read_coarse(path: Path, name: str, split: Split, dirt: Dirt) -> Iterator[Item]:
    word, classes = path.parent.name, _classes(path.with_name(CLASSES))
    for number, line, label in _labelled_lines(path):
        place, (index, _, sentence) = f"{word}/{name}:{number}", line.partition("\t")
        if name.startswith(f"{word}/"):
            place = f"{name}:{number}"
        context = _word_at(word, sentence, index.strip())
        if not sentence:
            dirt.note("wrong_columns", place)
        elif label not in classes:
            dirt.note("unknown_label" if label else "no_label", place)
        elif context is None:
            dirt.note("bad_index", place)
        else:
            yield Item(place, word, classes[label], (context,), split)


def _rows(path: Path, name: str, dirt: Dirt, columns: tuple[str, ...]) -> Iterator[tuple[str, Row]]:
    """Yield (place, row) of a table or JSONL file, columns under our names for them."""
    known = {alias: own for own in columns for alias in _NAMES[own]}
    is_jsonl, is_csv = (ending in path.name.lower() for ending in (".jsonl", ".csv"))
    names: list[str] = []
    with input_files.opened(path) as stream:
        lines = input_files.texts_of(stream)
        if is_jsonl:
            for number, line in enumerate(lines, start=1):
                row = _json_object(line, known) if line is not None else None
                if row is not None:
                    yield f"{name}:{number}", row
                elif line is None or line.strip():
                    dirt.note("long_line" if line is None else "broken_line", f"{name}:{number}")
            return
        tabbed = (
            (n, None if line is None else line.split("\t")) for n, line in enumerate(lines, start=1)
        )
        for number, cells in input_files.csv_rows(lines) if is_csv else tabbed:
            if cells is None:
                dirt.note("open_quote" if is_csv else "long_line", f"{name}:{number}")
            elif any(cell.strip() for cell in cells):
                if not names:
                    header = _header(cells, known, path)
                    names = header if any(header) else list(columns)
                    if any(header):
                        continue
                # A row that is too short lacks its last columns.
                yield f"{name}:{number}", dict(zip(names, cells, strict=False))


def _header(cells: list[str], known: dict[str, str], path: Path) -> list[str]:
    """Return our names for the columns of a table's first line, "" for those that are not read.

    Raises:
        DataError: if two columns would do for one: either would be taken without a word.
    """
    theirs = [cell.strip().lower() for cell in cells]
    all_names = set(theirs)
    ours = [_own(name, known, all_names) for name in theirs]
    counts = Counter(filter(None, ours))
    if twice := [name for name, n in counts.items() if n > 1]:
        same = [name for name, own in zip(theirs, ours, strict=True) if own == twice[0]]
        raise DataError(
            f"{path} has {len(same)} columns for the {twice[0]} ({listed(same)}); give all but one "
            "of them another name."
        )
    return ours


def _own(name: str, known: dict[str, str], all_names: Collection[str]) -> str:
    """Return our name for a column, "" if it has none or another column has that name itself."""
    own = known.get(name, "")
    return own if own == name or own not in all_names else ""


def _json_object(line: str, known: dict[str, str]) -> Row | None:
    """Return an object's values under our names for them, None if it is none or says one twice."""
    try:
        row = strict_json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict):
        return None
    named = [(own, value) for key, value in row.items() if (own := _own(key, known, row))]
    return dict(named) if len(dict(named)) == len(named) else None


def _read_in_context(path: Path, name: str, split: Split, dirt: Dirt) -> Iterator[Item]:
    columns = ("word", "sense", "sentence", "start", "stop", "id", "split")
    for place, row in _rows(path, name, dirt, columns):
        word, sense = (str(row.get(key, "") or "").strip() for key in ("word", "sense"))
        sentence = str(row.get("sentence", "") or "")
        if not word or not sentence:
            dirt.note("wrong_columns", place)
            continue
        if not sense:
            dirt.note("no_label", place)
            continue
        context = _placed(word, sentence, row, dirt, place)
        if context is not None:
            told = str(row.get("split", "") or split).lower()
            own: Split = "train" if told == "train" else "test"
            yield Item(str(row.get("id") or place), word, sense, (context,), own)


def _placed(word: str, sentence: str, row: Row, dirt: Dirt, place: str) -> Context | None:
    """Return a word where its row says, where it is marked, or where it stands; None if dirty."""
    start, stop = (
        str(row.get(key, "") if row.get(key) is not None else "").strip()
        for key in ("start", "stop")
    )
    if start or stop:
        first, last = _number(start), _number(stop)
        if first is not None and last is not None and first < last <= len(sentence):
            return Context(word, sentence, first, last)
        dirt.note("bad_index", place)
        return None
    if marked := _marked(sentence):
        return Context(word, *marked)
    if len(word) > _MAX_WORD:
        dirt.note("word_not_found", place)
        return None
    found = list(re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", sentence, re.IGNORECASE))
    if len(found) != 1:
        dirt.note("word_ambiguous" if found else "word_not_found", place)
        return None
    return Context(word, sentence, found[0].start(), found[0].end())


def _marked(sentence: str) -> tuple[str, int, int] | None:
    """Return a sentence without the first mark of a word in it, and where that word stands.

    >>> _marked("two <b>banks</b> of it"), _marked("no [[mark")
    (('two banks of it', 4, 9), None)
    """
    found = []
    for opening, closing in _MARKS:
        start = sentence.find(opening)
        # If the first mark is not closed, no later one is. A marked word has one letter or more.
        stop = sentence.find(closing, start + len(opening) + 1) if start >= 0 else -1
        if stop >= 0:
            found.append((start, stop, opening, closing))
    if not found:
        return None
    start, stop, opening, closing = min(found)
    shown = sentence[start + len(opening) : stop]
    return sentence[:start] + shown + sentence[stop + len(closing) :], start, start + len(shown)


def _read_pairs(path: Path, name: str, split: Split, dirt: Dirt) -> Iterator[Item]:
    for place, row in _rows(path, name, dirt, ("word_a", "word_b", "label")):
        cells = [str(row.get(key, "") or "").strip() for key in ("word_a", "word_b", "label")]
        words, label = sorted(cells[:2]), cells[2].lower()
        relation = _RELATIONS.get(label[:3])
        if not all(words):
            dirt.note("wrong_columns", place)
        elif relation is None:
            dirt.note("unknown_label" if label else "no_label", place)
        elif words[0].lower() == words[1].lower():
            dirt.note("same_word", place)
        else:
            yield Item(place, " / ".join(words), relation, tuple(map(in_neutral, words)), "test")


def _read_graded(path: Path, name: str, split: Split, dirt: Dirt) -> Iterator[Item]:
    columns = ("word_a", "word_b", "rating", "label")
    for place, row in _rows(path, name, dirt, columns):
        cells = [str(row.get(key, "") or "").strip() for key in columns[:2]]
        if cells[0].startswith("#"):
            continue
        words, rating = sorted(cells), _rating(row.get("rating"))
        if not all(words):
            dirt.note("wrong_columns", place)
        elif rating is None:
            dirt.note("no_rating", place)
        elif words[0].lower() == words[1].lower():
            dirt.note("same_word", place)
        else:
            relation = _RELATIONS.get(str(row.get("label", "") or "").strip().lower()[:3], "")
            contexts = tuple(map(in_neutral, words))
            yield Item(place, " / ".join(words), f"{rating:g}", contexts, "test", relation)


def _rating(value: Any) -> float | None:
    """Return a rating as a finite number, None if it is none."""
    try:
        rating = float(str(value).strip())
    except ValueError:
        return None
    return rating if math.isfinite(rating) else None


NEUTRAL = "The word "


def in_neutral(word: str) -> Context:
    """Return a word where nothing but itself says what it means.

    >>> in_neutral("light").text
    'The word light'
    """
    return Context(word, NEUTRAL + word, len(NEUTRAL), len(NEUTRAL) + len(word))


_READERS: dict[str, Callable[[Path, str, Split, Dirt], Iterator[Item]]] = {
    "wic": _read_wic,
    "coarse_wsd": _read_coarse,
    "in_context": _read_in_context,
    "pairs": _read_pairs,
    "graded_pairs": _read_graded,
}
